//! The program; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    rosterd::cli::main()
}
