//! `rosterd account …`

use clap::Subcommand;
use serde_json::{Value, json};

use super::app::App;
use super::output::{Format, escape_controls, print_json, print_line, table};
use super::{Exit, account_ref};
use crate::model::account::{Account, AccountRef, Admin};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Adds an account; imports stay off until `account enable`.
    Add {
        /// What people call it; not all digits.
        name: String,
        /// IANA zone in which its schedule is read, for example America/Vancouver.
        #[arg(long, value_name = "ZONE")]
        time_zone: String,
        /// Receives the account's mail; may be given several times.
        #[arg(long = "admin", value_name = "EMAIL")]
        admins: Vec<String>,
    },
    /// Lists all accounts.
    List,
    /// Shows one.
    Show {
        /// Id or name.
        #[arg(value_parser = account_ref)]
        account: AccountRef,
    },
    /// Switches imports on: from now on the spreadsheet is master.
    Enable {
        /// Id or name.
        #[arg(value_parser = account_ref)]
        account: AccountRef,
    },
    /// Switches imports off: other programs may write the contacts.
    Disable {
        /// Id or name.
        #[arg(value_parser = account_ref)]
        account: AccountRef,
    },
    /// Deletes an account with all its contacts, groups and history.
    Delete {
        /// Id or name.
        #[arg(value_parser = account_ref)]
        account: AccountRef,
        /// Says that you mean it.
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
                    "account {id} `{name}` added; next: `rosterd settings set {id} …`, `rosterd schedule set {id} …`, `rosterd account enable {id}`"
                ))?,
            }
        }
        Command::List => list(app, format).await?,
        Command::Show { account } => show(app, account, format).await?,
        Command::Enable { account } => {
            let account = app.store.account(account).await?;
            app.store.set_import_enabled(account.id, true).await?;
            print_line(format!(
                "imports of `{}` are on; the first one that would touch a contact waits for `rosterd runs approve`",
                account.name
            ))?;
        }
        Command::Disable { account } => {
            let account = app.store.account(account).await?;
            app.store.set_import_enabled(account.id, false).await?;
            print_line(format!("imports of `{}` are off", account.name))?;
        }
        Command::Delete { account, yes: _ } => {
            let account = app.store.account(account).await?;
            app.store.delete_account(account.id).await?;
            print_line(format!(
                "account `{}` is deleted with all that belonged to it",
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
        (_, Some(_)) => "set aside",
        (true, None) => "on",
        (false, None) => "off",
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

async fn show(app: &App, wanted: &AccountRef, format: Format) -> anyhow::Result<()> {
    let account = app.store.account(wanted).await?;
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
        print_line(format!("set aside  since {at}: {reason}"))?;
    }
    print_line(format!("contacts   {contacts} in {groups} groups"))?;
    for admin in &admins {
        print_line(format!("admin      {} ({})", admin.email, admin.notify))?;
    }
    Ok(())
}
