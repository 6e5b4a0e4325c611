//! Any bytes as a CSV file.

#![no_main]

mod promises;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    promises::check(file);
});
