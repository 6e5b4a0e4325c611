//! Prints the records of a CSV file of any kind as JSON, an array of arrays of cells: what `scripts/compare-spectrum` holds
//! against the records that a public collection expects.

use std::fs::File;
use std::io::{BufReader, Write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("name a CSV file")?;
    let records = rosterd::sheet::csv_records(BufReader::new(File::open(path)?))?;
    std::io::stdout().write_all(&serde_json::to_vec(&records)?)?;
    Ok(())
}
