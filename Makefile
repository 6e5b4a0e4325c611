# Commands for developers and for a first look; README.md and CONTRIBUTING.md explain them.

.PHONY: demo test lint bench bench-read bench-sftp docs sqlx packages

# Demonstrates scheduled imports, error mails and a held import; Ctrl-C stops everything it started.
demo: packages
	@cargo build --quiet --bin rosterd --example demo
	@cargo run --quiet --example demo

# All tests. Most of them wait for servers, hence three per processor at a time; RUST_TEST_THREADS sets another number.
test:
	@scripts/install-debian-packages tests
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$((3 * $$(nproc)))} cargo test --locked

# Formatting, wording, lints, documentation links, and whether .sqlx is up to date.
lint:
	@scripts/install-debian-packages lint
	cargo fmt --check
	scripts/check-words --self-test
	scripts/check-words
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --lib
	scripts/prepare-queries --check

# Cost of imports compared with COPY, hand-tuned SQL and other tools; ROWS=10000,100000 for other sizes.
bench: packages
	cargo bench --locked --bench import

# Cost of `rosterd check` compared with a loop that only reads the same file.
bench-read: packages
	cargo bench --locked --bench read

# 50 MB over SFTP compared with the sftp command.
bench-sftp:
	@scripts/install-debian-packages tests
	cargo bench --locked --bench sftp

# Generates docs/checks.md; run it after changing the catalog of checks.
docs:
	cargo run --quiet --locked --example reference > docs/checks.md

# Updates .sqlx; run it after changing a query or a migration.
sqlx: packages
	scripts/prepare-queries

packages:
	@scripts/install-debian-packages
