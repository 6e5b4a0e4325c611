//! Prints the records of a CSV file as JSON, an array of arrays of cells. `scripts/compare-spectrum` compares them with the
//! records that a public collection of CSV files expects.

use std::fs::File;
use std::io::{BufReader, Write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os()
        .nth(1)
        .ok_or("usage: csv_records FILE")?;
    let records = rosterd::sheet::csv_records(BufReader::new(File::open(path)?))?;
    std::io::stdout().write_all(&serde_json::to_vec(&records)?)?;
    Ok(())
}
