//! Integration tests in one binary, with one private Postgres per run, one database per test, and real TLS, SMTP, SSH and S3
//! servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "tests fail by panicking and start their own servers and tasks"
)]

mod architecture;
mod blocked_addresses;
mod commands;
mod daemon_process;
mod damaged_csv;
mod embedded_postgres;
mod faulty_http_servers;
mod faulty_sftp_servers;
mod holds;
mod https_fetch;
mod imports;
mod mail_delivery;
mod model;
mod odd_files;
mod reader_version;
mod retention;
mod reverts;
mod round_trip;
mod row_cache;
mod s3;
mod scheduling;
mod secret_leaks;
mod sftp;
mod source_commands;
mod support;
mod templates_and_annotations;
mod workbooks;
mod write_protection;
