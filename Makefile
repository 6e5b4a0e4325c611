# The commands of a newcomer, and of everybody else. See README.md and CONTRIBUTING.md.

.PHONY: demo test lint bench bench-read bench-sftp docs sqlx packages

# Shows the main job on real input; Ctrl-C leaves nothing running.
demo: packages
	@cargo build --quiet --bin rosterd --example demo
	@cargo run --quiet --example demo

# Everything that must pass.
test:
	@scripts/install-debian-packages tests
	cargo test --locked

lint: packages
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --lib
	scripts/prepare-queries --check

# What an import costs, beside COPY, an expert's SQL and other tools; ROWS=10000,100000 for other sizes.
bench: packages
	cargo bench --locked --bench import

# What reading costs, beside a bare loop over the same file.
bench-read: packages
	cargo bench --locked --bench read

# 50 MB over SFTP, beside the sftp command.
bench-sftp:
	@scripts/install-debian-packages tests
	cargo bench --locked --bench sftp

# After a change of the catalogue of checks.
docs:
	cargo run --quiet --locked --example reference > docs/CHECKS.md

# After a change of a query or a migration.
sqlx: packages
	scripts/prepare-queries

packages:
	@scripts/install-debian-packages
