//! What the benchmarks share.

pub mod cost;
pub mod people;
