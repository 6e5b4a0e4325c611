//! The commands: what they are called, and what their end means (0 done, 1 failed, 2 usage, 3 contacts in error, 4 held).

mod account;
mod app;
mod check;
mod doctor;
mod import;
mod key;
mod output;
mod run_now;
mod runs;
mod schedule;
mod serve;
mod settings;
mod template;

use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;
use crate::model::account::AccountRef;
use crate::sheet::{self, Limits, WORKBOOK_COMMAND};
use crate::telemetry;
use app::App;
use output::{Format, FormatArg};

/// What a command comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or unchanged.
    Done,
    /// Failed.
    Failed,
    /// Finished with errors on contacts.
    ContactsInError,
    /// Held.
    Held,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Failed => Self::from(1),
            Exit::ContactsInError => Self::from(3),
            Exit::Held => Self::from(4),
        }
    }
}

/// Usage errors and settings that can't be used.
const USAGE_ERROR: u8 = 2;

/// Keeps contacts and groups in step with a spreadsheet that lies somewhere else.
#[derive(Debug, Parser)]
#[command(
    name = "rosterd",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done or unchanged, 1 failed, 2 usage, 3 finished with errors on contacts, 4 held."
)]
struct Cli {
    /// Configuration file [default: rosterd.toml if present].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to print data: text or json (for `template`: xlsx or csv).
    #[arg(long, global = true, value_enum, hide_possible_values = true)]
    format: Option<FormatArg>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the daemon; migrates the database first.
    Serve {
        /// Leaves the database as it is.
        #[arg(long)]
        no_migrate: bool,
    },
    /// Brings the database's schema up to date.
    Migrate,
    /// Says what is wrong with database, key, mail, clock, zones, and how to mend it.
    Doctor,
    /// Asks the daemon on this machine whether it is ready.
    Healthcheck,
    /// Accounts.
    #[command(subcommand)]
    Account(account::Command),
    /// Where an account's file lies.
    #[command(subcommand)]
    Settings(settings::Command),
    /// When an account is imported.
    #[command(subcommand)]
    Schedule(schedule::Command),
    /// Imports an account here and now.
    Import(import::Args),
    /// Looks at a file as an import would; needs no database.
    Check(check::Args),
    /// Writes the import template.
    Template(template::Args),
    /// What imports did, and a person's word on those that wait.
    #[command(subcommand)]
    Runs(runs::Command),
    /// The key that seals passwords.
    #[command(subcommand)]
    Key(key::Command),
    /// Reads a workbook from standard input for the process that started this one.
    #[command(name = WORKBOOK_COMMAND, hide = true)]
    ReadWorkbook { max_rows: u32 },
}

impl Cli {
    /// Data is printed as text or JSON; only a template is a workbook or a CSV file.
    fn format(&self) -> Result<Format, &'static str> {
        match (&self.command, self.format) {
            (Command::Template(_), Some(FormatArg::Text | FormatArg::Json)) => {
                Err("a template is written with --format xlsx or --format csv")
            }
            (Command::Template(_), _) | (_, None | Some(FormatArg::Text)) => Ok(Format::Text),
            (_, Some(FormatArg::Json)) => Ok(Format::Json),
            (_, Some(FormatArg::Xlsx | FormatArg::Csv)) => Err("--format is text or json here"),
        }
    }
}

/// An account by id or name.
fn account_ref(text: &str) -> Result<AccountRef, std::convert::Infallible> {
    text.parse()
}

/// Runs the program; the whole of `main`.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::ReadWorkbook { max_rows } = cli.command {
        return read_workbook(max_rows);
    }
    let format = match cli.format() {
        Ok(format) => format,
        Err(error) => return print_error(error, USAGE_ERROR),
    };
    let config = match Config::load(cli.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return print_error(&error.to_string(), USAGE_ERROR),
    };
    if let Err(error) = telemetry::init(&config.log) {
        return print_error(&error.to_string(), USAGE_ERROR);
    }
    // Core dumps would hold passwords; the limit does not count where the system pipes them to a program. Where either
    // can't be set, nothing else is lost.
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    let _ = nix::sys::prctl::set_dumpable(false);
    // Fails only if one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // Looking at a file needs neither database nor network, and no runtime.
    if let Command::Check(args) = &cli.command {
        return exit_code(check::run(args, &config, format));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return print_error(&format!("the program could not be started: {error}"), 1),
    };
    exit_code(runtime.block_on(run(cli, format, config)))
}

/// The child behind the wall: no settings, no log, nothing but the workbook.
fn read_workbook(max_rows: u32) -> ExitCode {
    let input = std::io::stdin().as_fd().try_clone_to_owned();
    let output = std::io::stdout().as_fd().try_clone_to_owned();
    let done = input
        .and_then(|input| sheet::run_worker(input.into(), output?.into(), Limits { max_rows }));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn exit_code(outcome: anyhow::Result<Exit>) -> ExitCode {
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => print_error(&format!("{error:#}"), 1),
    }
}

/// Whoever read our output has read enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn print_error(message: &str, code: u8) -> ExitCode {
    // With standard error closed there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "rosterd: {message}");
    ExitCode::from(code)
}

async fn run(cli: Cli, format: Format, config: Config) -> anyhow::Result<Exit> {
    match cli.command {
        Command::Template(args) => template::run(
            &args,
            cli.format == Some(FormatArg::Csv),
            cli.format.is_some(),
        ),
        Command::Key(key::Command::Generate) => key::generate(&config),
        Command::Serve { no_migrate } => serve::run(config, !no_migrate).await,
        Command::Healthcheck => serve::healthcheck(&config).await,
        Command::Doctor => doctor::run(&config, format).await,
        command => {
            let migrate = matches!(command, Command::Migrate);
            let app = App::open(config, migrate).await?;
            let exit = run_with_app(command, &app, format).await;
            app.close().await;
            exit
        }
    }
}

async fn run_with_app(command: Command, app: &App, format: Format) -> anyhow::Result<Exit> {
    match command {
        Command::Account(command) => account::run(&command, app, format).await,
        Command::Settings(command) => settings::run(&command, app, format).await,
        Command::Schedule(command) => schedule::run(&command, app, format).await,
        Command::Import(args) => import::run(&args, app, format).await,
        Command::Runs(command) => runs::run(&command, app, format).await,
        Command::Key(_) => key::rotate(app).await,
        _ => {
            output::print_line("the database is migrated")?;
            Ok(Exit::Done)
        }
    }
}
