//! `rosterd key …`

use clap::Subcommand;

use super::app::App;
use super::{Exit, output};
use crate::config::Config;
use crate::secrets::Keyring;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Makes the key file; never overwrites one.
    Generate,
    /// Puts a new key in the place of the old one and seals all secrets anew; can be interrupted and run again.
    Rotate,
}

/// Needs no database.
pub(super) fn generate(config: &Config) -> anyhow::Result<Exit> {
    let path = config.key_file();
    Keyring::generate(&path)?;
    output::print_line(format!(
        "key written to {}; keep a copy of it apart from the database's backups",
        path.display()
    ))?;
    Ok(Exit::Done)
}

pub(super) async fn rotate(app: &App) -> anyhow::Result<Exit> {
    let path = app.config.key_file();
    let _rotation_lock = Keyring::lock(&path)?;
    let mut is_new = Keyring::load(&path)?.has_single_key();
    let mut keys = Keyring::begin_rotation(&path)?;
    let (mut reencrypted, mut undecryptable) = reencrypt(app, &keys).await?;
    if !is_new && reencrypted == 0 {
        // An earlier change is through, but for what no key opens: this is another.
        is_new = true;
        keys = Keyring::add_key(&path)?;
        (reencrypted, undecryptable) = reencrypt(app, &keys).await?;
    }
    // What no key opens may be opened yet by one that is put back: then none is thrown away.
    if undecryptable.is_empty() {
        keys.finish_rotation(&path)?;
    }
    let what = if is_new {
        format!("new key written to {}", path.display())
    } else {
        format!(
            "a change that was interrupted is carried on with the newest key in {}",
            path.display()
        )
    };
    output::print_line(format!(
        "{what}, {reencrypted} secrets sealed anew; backups of the database from before need the old copy of the key"
    ))?;
    for account in &undecryptable {
        output::print_line(format!(
            "the secret of `{account}` can't be opened with any key at hand and was left as it is, and so were the old keys; enter it again with `rosterd settings set`"
        ))?;
    }
    Ok(if undecryptable.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// Seals with the first key what another one sealed. Says how many secrets that were, and whose none opens.
async fn reencrypt(app: &App, keys: &Keyring) -> anyhow::Result<(usize, Vec<String>)> {
    let (mut reencrypted, mut undecryptable) = (0, Vec::new());
    // Again until nothing is left: a secret may be entered under the old key meanwhile.
    loop {
        let before = reencrypted;
        undecryptable.clear();
        for secret in app.store.encrypted_secrets().await? {
            match keys.reencrypt(&secret.ciphertext, secret.account.0, secret.field) {
                Ok(None) => {}
                Ok(Some(ciphertext)) => {
                    app.store.replace_secret(&secret, &ciphertext).await?;
                    reencrypted += 1;
                }
                Err(_) => undecryptable.push(secret.account_name),
            }
        }
        if reencrypted == before {
            return Ok((reencrypted, undecryptable));
        }
    }
}
