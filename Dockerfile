# syntax=docker/dockerfile:1
# A small image that runs as an unprivileged user: docker build -t rosterd .
# To use other base images: --build-arg BUILD_IMAGE=… --build-arg RUN_IMAGE=…
ARG BUILD_IMAGE=docker.io/library/rust:1-bookworm
ARG RUN_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends libssl-dev zlib1g-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY Cargo.toml Cargo.lock askama.toml ./
COPY .cargo .cargo
COPY .sqlx .sqlx
COPY migrations migrations
COPY templates templates
COPY src src
# Cargo requires the bench targets listed in Cargo.toml to exist.
COPY benches benches
RUN cargo build --release --locked --bin rosterd && strip target/release/rosterd

FROM ${RUN_IMAGE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates tzdata libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/rosterd --create-home --shell /usr/sbin/nologin rosterd
COPY --from=build /build/target/release/rosterd /usr/local/bin/rosterd
COPY config/rosterd.example.toml /usr/share/doc/rosterd/
# In a container the database is external: a missing DATABASE_URL is an error and no private Postgres is started.
ENV ROSTERD_DATABASE__EMBEDDED=false \
    ROSTERD_SECRETS__KEY_FILE=/var/lib/rosterd/secrets.key \
    ROSTERD_WEB__LISTEN=0.0.0.0:8377 \
    ROSTERD_LOG__FORMAT=json
USER 10001
WORKDIR /var/lib/rosterd
VOLUME /var/lib/rosterd
EXPOSE 8377
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=6s --start-period=20s CMD ["rosterd", "healthcheck"]
ENTRYPOINT ["rosterd"]
CMD ["serve"]
