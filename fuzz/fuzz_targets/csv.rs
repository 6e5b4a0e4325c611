//! Fuzz target: arbitrary bytes, read as an import would read them (mostly as CSV).

#![no_main]

mod invariants;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    invariants::check(file);
});
