//! `rosterd account …`: adds, lists, enables, disables and deletes accounts.

use clap::Subcommand;
use serde_json::{Value, json};

use super::app::App;
use super::output::{Format, escape_controls, print_json, print_line, table};
use super::{Exit, account_ref};
use crate::model::account::{Account, AccountRef, Admin};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add an account; imports stay disabled until `account enable`.
    Add {
        /// Name of the account; must be unique and must not consist of digits only.
        name: String,
        /// IANA time zone of the account's schedule, for example America/Vancouver.
        #[arg(long, value_name = "ZONE")]
        time_zone: String,
        /// Email address of an admin, who receives the account's mail; can be given several times.
        #[arg(long = "admin", value_name = "EMAIL")]
        admins: Vec<String>,
    },
    /// List all accounts.
    List,
    /// Show an account with its admins and number of contacts.
    Show {
        /// Account ID or name.
        #[arg(value_parser = account_ref)]
        account: AccountRef,
    },
    /// Enable imports: the spreadsheet becomes the source of truth, and other programs can't change the contacts.
    Enable {
        /// Account ID or name.
        #[arg(value_parser = account_ref)]
        account: AccountRef,
    },
    /// Disable imports: other programs can change the contacts again.
    Disable {
        /// Account ID or name.
        #[arg(value_parser = account_ref)]
        account: AccountRef,
    },
    /// Delete an account with all its contacts, groups and history.
    Delete {
        /// Account ID or name.
        #[arg(value_parser = account_ref)]
        account: AccountRef,
        /// Confirm the deletion.
        #[arg(long, required = true)]
        yes: bool,
    },
}

pub(super) async fn run(command: &Command, app: &App, format: Format) -> anyhow::Result<Exit> {
    match command {
        Command::Add {
            name,
            time_zone,
            admins,
        } => {
            let id = app.store.add_account(name, time_zone, admins).await?;
            match format {
                Format::Json => print_json(
                    &json!({"account": {"id": id, "name": name, "time_zone": time_zone, "import_enabled": false}}),
                )?,
                Format::Text => print_line(format!(
                    "added account {id} `{name}`; next: `rosterd settings set {id} …`, `rosterd schedule set {id} …`, `rosterd account enable {id}`"
                ))?,
            }
        }
        Command::List => list(app, format).await?,
        Command::Show { account } => show(app, account, format).await?,
        Command::Enable { account } => {
            let account = app.store.account(account).await?;
            app.store.set_import_enabled(account.id, true).await?;
            print_line(format!(
                "imports are enabled for `{}`; the first import that would change existing contacts will be held until you approve it",
                account.name
            ))?;
        }
        Command::Disable { account } => {
            let account = app.store.account(account).await?;
            app.store.set_import_enabled(account.id, false).await?;
            print_line(format!(
                "imports are disabled for `{}`; other programs can change its contacts",
                account.name
            ))?;
        }
        Command::Delete { account, yes: _ } => {
            let account = app.store.account(account).await?;
            app.store.delete_account(account.id).await?;
            print_line(format!(
                "deleted account `{}` with all its contacts, groups and history",
                account.name
            ))?;
        }
    }
    Ok(Exit::Done)
}

fn to_json(account: &Account) -> Value {
    json!({
        "id": account.id,
        "name": account.name,
        "time_zone": account.time_zone,
        "import_enabled": account.import_enabled,
        "set_aside_at": account.set_aside.as_ref().map(|(at, _)| at),
        "set_aside_reason": account.set_aside.as_ref().map(|(_, reason)| reason),
    })
}

fn state(account: &Account) -> &'static str {
    match (account.import_enabled, &account.set_aside) {
        (_, Some(_)) => "quarantined",
        (true, None) => "enabled",
        (false, None) => "disabled",
    }
}

async fn list(app: &App, format: Format) -> anyhow::Result<()> {
    let accounts = app.store.accounts().await?;
    if format == Format::Json {
        return print_json(&accounts.iter().map(to_json).collect::<Vec<_>>());
    }
    let mut listing = table(&["id", "account", "time zone", "imports"]);
    for account in &accounts {
        listing.add_row([
            account.id.to_string(),
            escape_controls(&account.name),
            account.time_zone.clone(),
            state(account).to_owned(),
        ]);
    }
    print_line(listing)?;
    Ok(())
}

async fn show(app: &App, account: &AccountRef, format: Format) -> anyhow::Result<()> {
    let account = app.store.account(account).await?;
    let admins = app.store.admins(account.id).await?;
    let (contacts, groups) = app.store.count_active(account.id).await?;
    if format == Format::Json {
        let admin = |admin: &Admin| json!({"email": admin.email, "name": admin.name, "notify": admin.notify});
        let mut value = to_json(&account);
        value["admins"] = admins.iter().map(admin).collect();
        value["contacts"] = contacts.into();
        value["groups"] = groups.into();
        return print_json(&json!({ "account": value }));
    }
    print_line(format!(
        "account    {} {}",
        account.id,
        escape_controls(&account.name)
    ))?;
    print_line(format!("time zone  {}", account.time_zone))?;
    print_line(format!("imports    {}", state(&account)))?;
    if let Some((at, reason)) = &account.set_aside {
        print_line(format!("quarantine since {at}: {reason}"))?;
    }
    print_line(format!("contacts   {contacts} in {groups} groups"))?;
    for admin in &admins {
        print_line(format!(
            "admin      {} (mail: {})",
            admin.email, admin.notify
        ))?;
    }
    Ok(())
}
