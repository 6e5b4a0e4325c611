//! `rosterd schedule …`: sets, shows and clears the days and times at which an account is imported.

use clap::Subcommand;
use serde_json::json;

use super::app::App;
use super::output::{Format, print_json, print_line};
use super::{Exit, account_ref};
use crate::model::account::AccountRef;
use crate::model::schedule::{Schedule, Weekday, local_rfc3339, upcoming, zone};

/// Number of upcoming runs to show.
const UPCOMING_RUNS: usize = 5;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Replace the schedule of an account.
    Set {
        /// Account ID or name.
        #[arg(value_parser = account_ref)]
        account: AccountRef,
        /// Days of the week, separated by commas, for example mon,thu.
        #[arg(long, value_delimiter = ',', value_parser = parse_day, required = true)]
        days: Vec<Weekday>,
        /// Time of day in the account's time zone, for example 02:30.
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        at: jiff::civil::Time,
    },
    /// Show the schedule and the next five runs.
    Show {
        /// Account ID or name.
        #[arg(value_parser = account_ref)]
        account: AccountRef,
    },
    /// Remove the schedule.
    Clear {
        /// Account ID or name.
        #[arg(value_parser = account_ref)]
        account: AccountRef,
    },
}

fn parse_day(word: &str) -> Result<Weekday, String> {
    let word = word.trim().to_lowercase();
    let short: String = word.chars().take(3).collect();
    let full = [
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
    ];
    let is_weekday = word == short || full.contains(&word.as_str());
    short
        .parse()
        .ok()
        .filter(|_| is_weekday)
        .ok_or_else(|| "expected mon, tue, wed, thu, fri, sat or sun".to_owned())
}

fn parse_time(text: &str) -> Result<jiff::civil::Time, String> {
    let well_formed = text.len() == 5 || text.len() == 8;
    let parsed = text
        .parse::<jiff::civil::Time>()
        .ok()
        .filter(|_| well_formed);
    parsed.ok_or_else(|| "expected a time from 00:00 to 23:59, for example 02:30".to_owned())
}

pub(super) async fn run(command: &Command, app: &App, format: Format) -> anyhow::Result<Exit> {
    match command {
        Command::Set { account, days, at } => {
            let account = app.store.account(account).await?;
            let mut days = days.clone();
            days.sort_unstable();
            days.dedup();
            app.store
                .replace_schedules(
                    account.id,
                    &[Schedule {
                        days,
                        at: *at,
                        enabled: true,
                    }],
                )
                .await?;
            show(app, &AccountRef::Id(account.id), format).await?;
        }
        Command::Show { account } => show(app, account, format).await?,
        Command::Clear { account } => {
            let account = app.store.account(account).await?;
            app.store.replace_schedules(account.id, &[]).await?;
            print_line(format!("removed the schedule of `{}`", account.name))?;
        }
    }
    Ok(Exit::Done)
}

async fn show(app: &App, account: &AccountRef, format: Format) -> anyhow::Result<()> {
    let account = app.store.account(account).await?;
    let schedules = app.store.schedules(account.id).await?;
    let zone = zone(&account.time_zone)?;
    let next: Vec<String> = upcoming(&schedules, app.clock.now(), &zone, UPCOMING_RUNS)
        .into_iter()
        .map(|at| local_rfc3339(at, &zone))
        .collect();
    let clock_time = |at: jiff::civil::Time| {
        if at.second() == 0 {
            at.strftime("%H:%M").to_string()
        } else {
            at.strftime("%H:%M:%S").to_string()
        }
    };
    if format == Format::Json {
        let rows: Vec<_> = schedules
            .iter()
            .map(|s| json!({"days": s.days, "at": clock_time(s.at), "enabled": s.enabled}))
            .collect();
        return print_json(
            &json!({"time_zone": account.time_zone, "schedules": rows, "next_runs": next}),
        );
    }
    print_line(format!(
        "schedule of `{}` (time zone {})",
        account.name, account.time_zone
    ))?;
    if schedules.is_empty() {
        print_line("  none")?;
    }
    for schedule in &schedules {
        let days: Vec<&str> = schedule.days.iter().map(|day| day.as_str()).collect();
        let disabled = if schedule.enabled { "" } else { " (disabled)" };
        print_line(format!(
            "  {} at {}{disabled}",
            days.join(", "),
            clock_time(schedule.at)
        ))?;
    }
    if !account.import_enabled && !schedules.is_empty() {
        print_line(format!(
            "  imports are disabled: these times are skipped until `rosterd account enable {}`",
            account.id
        ))?;
    }
    for at in &next {
        print_line(format!("  next: {at}"))?;
    }
    Ok(())
}
