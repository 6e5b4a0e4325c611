//! rosterd synchronizes the contacts and groups of each account with a spreadsheet on a remote server.
//!
//! ARCHITECTURE.md describes the modules. Only `import` depends on all stages.

pub mod address;
pub mod cli;
pub mod clock;
pub mod compact;
pub mod config;
pub mod dispatch;
pub mod embedded;
pub mod fetch;
pub mod import;
pub mod lifecycle;
pub mod mail;
pub mod model;
pub mod outbox;
pub mod parsed_sheet;
pub mod reconcile;
pub mod report;
pub mod row_cache;
pub mod secrets;
pub mod sheet;
pub mod store;
pub mod table;
pub mod telemetry;
pub mod temp_file;
pub mod unicode;
pub mod validate;
pub mod web;
