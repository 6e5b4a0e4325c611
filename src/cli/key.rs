//! `rosterd key …`: creates and rotates the key that encrypts stored secrets. The cryptography is in `secrets`.

use clap::Subcommand;

use super::app::App;
use super::{Exit, output};
use crate::config::Config;
use crate::secrets::Keyring;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create the key file; refuses to overwrite an existing one.
    Generate,
    /// Create a new key and re-encrypt all stored secrets with it. If interrupted, run it again.
    Rotate,
}

/// Creates the key file. Needs no database.
pub(super) fn generate(config: &Config) -> anyhow::Result<Exit> {
    let path = config.key_file();
    Keyring::generate(&path)?;
    output::print_line(format!(
        "key written to {}; keep a copy of it separate from the database backups",
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
        // The previous rotation is complete, except for secrets that no key decrypts. Start a new one.
        is_new = true;
        keys = Keyring::add_key(&path)?;
        (reencrypted, undecryptable) = reencrypt(app, &keys).await?;
    }
    // A secret that no key decrypts may be readable again once a lost key is restored, so no key is deleted until then.
    if undecryptable.is_empty() {
        keys.finish_rotation(&path)?;
    }
    let what = if is_new {
        format!("new key written to {}", path.display())
    } else {
        format!(
            "resumed an interrupted rotation with the newest key in {}",
            path.display()
        )
    };
    output::print_line(format!(
        "{what}; secrets re-encrypted: {reencrypted}; to restore an older database backup, you need your copy of the previous key file"
    ))?;
    for account in &undecryptable {
        output::print_line(format!(
            "no key in the key file decrypts the secret of `{account}`; it was left unchanged and the old keys were kept; enter it again with `rosterd settings set`"
        ))?;
    }
    Ok(if undecryptable.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// Re-encrypts secrets with the newest key. Returns how many, and the names of accounts whose secret no key decrypts.
async fn reencrypt(app: &App, keys: &Keyring) -> anyhow::Result<(usize, Vec<String>)> {
    let (mut reencrypted, mut undecryptable) = (0, Vec::new());
    // Repeated until nothing changes: a secret may be stored under the old key in the meantime.
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
