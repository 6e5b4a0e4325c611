//! Prints the reference page of all checks. `make docs` writes it to `docs/checks.md`.

use std::io::Write;

fn main() -> std::io::Result<()> {
    let page = rosterd::model::catalog::reference_page();
    std::io::stdout().write_all(page.as_bytes())
}
