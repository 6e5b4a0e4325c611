//! Integration tests, in one binary: one private Postgres per run, one database per test, real TLS and SMTP servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and starts what it needs"
)]

mod architecture;
mod commands;
mod damage;
mod embedded;
mod fetching;
mod forgetting;
mod handouts;
mod holds;
mod hostile;
mod hostile_sftp;
mod known_rows;
mod lock;
mod mail;
mod main_job;
mod model;
mod process;
mod round_trip;
mod s3;
mod scheduling;
mod sealed;
mod secrets;
mod sftp;
mod sources;
mod support;
mod undo;
mod workbooks;
