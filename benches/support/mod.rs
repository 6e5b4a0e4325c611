//! Shared by the benchmarks: measuring commands and generating contacts.

pub mod cost;
pub mod people;
