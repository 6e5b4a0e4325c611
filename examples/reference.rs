//! Prints the reference page of the checks: `make docs` puts it into `docs/CHECKS.md`.

use std::io::Write;

fn main() -> std::io::Result<()> {
    let page = rosterd::model::catalogue::reference_page();
    std::io::stdout().write_all(page.as_bytes())
}
