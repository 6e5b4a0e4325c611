//! `rosterd key …`

use clap::Subcommand;

use super::{Exit, output};
use crate::config::Config;
use crate::seal::Keyring;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Makes the key file; never overwrites one.
    Generate,
}

pub(super) fn run(command: &Command, config: &Config) -> anyhow::Result<Exit> {
    match command {
        Command::Generate => {
            let path = config.key_file();
            Keyring::generate(&path)?;
            output::line(format!(
                "key written to {}; keep a copy of it apart from the database's backups",
                path.display()
            ))?;
        }
    }
    Ok(Exit::Done)
}
