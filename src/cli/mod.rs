//! The command line: names of the commands, their dispatch and their exit codes. The use cases are in the modules that it calls.

mod account;
mod app;
mod check;
mod doctor;
mod hint;
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

/// Result of a command that ran; becomes the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do (exit code 0).
    Done,
    /// Failed (exit code 1).
    Failed,
    /// Finished, but some contacts have errors (exit code 3).
    ContactsInError,
    /// Held for approval (exit code 4).
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

/// Exit code for usage errors and invalid configuration.
const USAGE_ERROR: u8 = 2;

/// Keep contact lists in Postgres in sync with spreadsheets.
#[derive(Debug, Parser)]
#[command(
    name = "rosterd",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done or unchanged; 1 failed; 2 wrong usage or configuration; 3 finished, but contacts with errors were skipped; 4 held for approval."
)]
struct Cli {
    /// Configuration file [default: rosterd.toml if it exists].
    #[arg(long, global = true, value_name = "FILE", display_order = 100)]
    config: Option<PathBuf>,
    /// Output format: text (default) or json; for `template`: xlsx (default) or csv.
    #[arg(
        long,
        global = true,
        value_enum,
        hide_possible_values = true,
        display_order = 101
    )]
    format: Option<FormatArg>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon, which starts scheduled imports and sends mail; migrates the database first.
    Serve {
        /// Do not migrate the database.
        #[arg(long)]
        no_migrate: bool,
    },
    /// Create the database schema, or migrate it to the current version.
    Migrate,
    /// Check the database, key, mail, clock and time zones, and explain how to fix problems.
    Doctor,
    /// Ask the daemon on this machine whether it is ready.
    Healthcheck,
    /// Add, list, enable, disable or delete accounts.
    #[command(subcommand)]
    Account(account::Command),
    /// Configure where an account's file is fetched from.
    #[command(subcommand)]
    Settings(settings::Command),
    /// Configure the days and time at which an account's file is imported.
    #[command(subcommand)]
    Schedule(schedule::Command),
    /// Import an account's file now.
    Import(import::Args),
    /// Check a file for errors without importing it; needs no database.
    Check(check::Args),
    /// Write an empty spreadsheet with the right columns.
    Template(template::Args),
    /// List and inspect imports (runs); approve, reject or revert them.
    #[command(subcommand)]
    Runs(runs::Command),
    /// Create or rotate the key that encrypts stored passwords.
    #[command(subcommand)]
    Key(key::Command),
    /// Read a workbook from standard input, as a sandboxed worker of another rosterd process.
    #[command(name = WORKBOOK_COMMAND, hide = true)]
    ReadWorkbook { max_rows: u32 },
}

impl Cli {
    /// Checks that the format fits the command: `template` writes xlsx or csv, all others print text or JSON.
    fn format(&self) -> Result<Format, &'static str> {
        match (&self.command, self.format) {
            (Command::Template(_), Some(FormatArg::Text | FormatArg::Json)) => {
                Err("--format must be xlsx or csv for `template`")
            }
            (Command::Template(_), _) | (_, None | Some(FormatArg::Text)) => Ok(Format::Text),
            (_, Some(FormatArg::Json)) => Ok(Format::Json),
            (_, Some(FormatArg::Xlsx | FormatArg::Csv)) => {
                Err("--format must be text or json for this command")
            }
        }
    }
}

fn account_ref(text: &str) -> Result<AccountRef, std::convert::Infallible> {
    text.parse()
}

/// Parses the arguments, runs the command and returns the exit code of the program.
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
    // Core dumps would contain passwords. The limit has no effect where the system pipes core dumps to a program, so the
    // process is also marked as not dumpable. Both are only additional protection, so errors are ignored.
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    let _ = nix::sys::prctl::set_dumpable(false);
    // Fails only if a provider is already installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // `check` needs no database, no network and no async runtime.
    if let Command::Check(args) = &cli.command {
        return exit_code(check::run(args, &config, format));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return print_error(&format!("cannot start the async runtime: {error}"), 1),
    };
    exit_code(runtime.block_on(run(cli, format, config)))
}

/// The sandboxed worker process. It loads no configuration and writes no log; it only reads the workbook.
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
        Err(error) => print_error(&hint::message(&error), 1),
    }
}

/// True if the reader of standard output, such as `head`, has closed the pipe. That is not a failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn print_error(message: &str, code: u8) -> ExitCode {
    // If standard error is closed, the message cannot be shown anywhere.
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
            output::print_line("database schema is up to date")?;
            Ok(Exit::Done)
        }
    }
}
