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
mod lock;
mod mail;
mod main_job;
mod model;
mod process;
mod round_trip;
mod scheduling;
mod support;
mod undo;
