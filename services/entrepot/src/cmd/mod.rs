//! The commands.

mod audit;
mod backup;
mod bench;
mod config;
mod demo;
mod errors;
mod events;
mod ids;
mod import;
mod migrate;
mod parked;
mod replay;
mod resend;
mod serve;
mod setup;
mod timers;
mod topics;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::config::{Config, Layers, Setting, Source};
use crate::exit::{Exit, Result};

/// How long blocking work gets to end after the command is done.
const LAST_WORK: Duration = Duration::from_secs(1);
/// Where settings are looked for when no file is named.
const SYSTEM_FILE: &str = "/etc/entrepot/entrepot.toml";
/// The variable that names the settings file.
const FILE_VARIABLE: &str = "ENTREPOT_CONFIG";

/// Orders and fulfillment over every channel: one place to promise, hold, pick and hand over.
#[derive(Debug, Parser)]
#[command(name = "entrepot", version, about, max_term_width = 100)]
struct Cli {
    /// Settings file; without it what the variable `ENTREPOT_CONFIG` names, else /etc/entrepot/entrepot.toml
    /// where it exists.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, over file and environment; may be given several times.
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the platform, or some of its services.
    Serve(serve::Args),
    /// Run everything on a sample retailer and play orders through it.
    Demo(demo::Args),
    /// Play a week of a real shop on a virtual clock.
    Replay(replay::Args),
    /// Send a file of stock figures to a running platform.
    Import(import::Args),
    /// Measure rates and latencies beside the bare work on the same database.
    Bench(bench::Args),
    /// Recompute the laws of stock from the ledger.
    Audit(audit::Args),
    /// Look at events.
    #[command(subcommand)]
    Events(events::Command),
    /// Look after events that could not be applied.
    #[command(subcommand)]
    Parked(parked::Command),
    /// Look after timers that stopped by themselves: a clock leapt, or far more was due than usual.
    #[command(subcommand)]
    Timers(timers::Command),
    /// Look after the topics of the broker.
    #[command(subcommand)]
    Topics(topics::Command),
    /// Bring the tables of all databases up to date.
    Migrate(migrate::Args),
    /// Copy the SQLite databases, all taken at one moment, also while they are served.
    Backup(backup::BackupArgs),
    /// Put a backup into an empty data directory.
    Restore(backup::RestoreArgs),
    /// Print every reason that a call can be refused with, and what to do about it.
    Errors(errors::Args),
    /// Print all settings in effect and where each came from; secrets are left out.
    Config(config::Args),
}

impl Command {
    /// Flags that are settings.
    fn settings(&self) -> Vec<(&'static str, String, &'static str)> {
        match self {
            Self::Serve(args) => args.settings(),
            Self::Audit(args) => args.place.settings(),
            Self::Import(args) => args.place.settings(),
            Self::Migrate(args) => args.place.settings(),
            Self::Backup(args) => args.place.settings(),
            Self::Restore(args) => args.place.settings(),
            Self::Config(args) => args.place.settings(),
            Self::Events(command) => command.place().settings(),
            Self::Parked(command) => command.place().settings(),
            Self::Timers(command) => command.place().settings(),
            Self::Demo(args) => args.settings(),
            // these place their data themselves, or have none
            Self::Replay(_) | Self::Bench(_) | Self::Topics(_) | Self::Errors(_) => Vec::new(),
        }
    }

    /// Whether it plays or measures, and tells figures at the end.
    fn tells_figures(&self) -> bool {
        matches!(self, Self::Demo(_) | Self::Replay(_) | Self::Bench(_))
    }

    async fn run(self, config: Config, settings: &[Setting]) -> Result<()> {
        match self {
            Self::Serve(_) => serve::run(config).await,
            Self::Demo(args) => Box::pin(demo::run(args, config)).await,
            Self::Replay(args) => Box::pin(replay::run(args, config)).await,
            Self::Import(args) => import::run(args, &config).await,
            Self::Bench(args) => Box::pin(bench::run(args, config)).await,
            Self::Audit(args) => audit::run(args, &config).await,
            Self::Events(command) => events::run(command, &config).await,
            Self::Parked(command) => parked::run(command, &config).await,
            Self::Timers(command) => timers::run(command, &config).await,
            Self::Topics(command) => topics::run(&command, &config).await,
            Self::Migrate(_) => migrate::run(&config).await,
            Self::Backup(args) => backup::save(args, &config).await,
            Self::Restore(args) => backup::restore(&args, &config),
            Self::Errors(args) => errors::run(&args),
            Self::Config(args) => config::run(&args, settings),
        }
    }
}

/// Where the data is.
#[derive(Debug, clap::Args)]
struct Place {
    /// Data directory (setting `data.directory`).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Place {
    fn settings(&self) -> Vec<(&'static str, String, &'static str)> {
        self.data.iter().map(|path| ("data.directory", path.display().to_string(), "--data")).collect()
    }
}

/// The program: reads flags and settings, runs the command, answers with its exit code.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => {
            complain(&exit);
            exit.code()
        }
    }
}

fn start(cli: Cli) -> Result<()> {
    let (config, settings) = load(&cli)?;
    server::telemetry::init(config.log.format, &config.log.filter)
        .map_err(|error| Exit::usage(format!("setting `log.filter`: {error}")))?;
    for warning in misspelled(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()), &settings)
    {
        tracing::warn!("{warning}");
    }
    open_files();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if config.runtime.worker_threads > 0 {
        builder.worker_threads(config.runtime.worker_threads);
    }
    let runtime = builder
        .max_blocking_threads(config.runtime.blocking_threads)
        .enable_all()
        .build()
        .map_err(|error| Exit::other("threads cannot be started", &error))?;
    let outcome = runtime.block_on(Box::pin(cli.command.run(config, &settings)));
    runtime.shutdown_timeout(LAST_WORK);
    outcome
}

/// Takes as many open files as the system allows: the usual 1,024 are fewer than a rush of callers brings connections.
fn open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%error, "the limit of open files stays");
    }
}

/// What to say of variables that look like settings and are none: one underscore is easily written for two.
fn misspelled(names: impl Iterator<Item = String>, settings: &[Setting]) -> Vec<String> {
    let is_ours = |name: &String| {
        name.starts_with("ENTREPOT_")
            && !name.starts_with("ENTREPOT__")
            && !name.starts_with("ENTREPOT_TEST_")
            && name != FILE_VARIABLE
    };
    let variable = |path: &str| format!("ENTREPOT__{}", path.to_ascii_uppercase().replace('.', "__"));
    let mut warnings: Vec<String> = names
        .filter(is_ours)
        .map(|name| {
            let meant = settings.iter().map(|setting| variable(&setting.path));
            let meant = meant.into_iter().find(|variable| variable.replace("__", "_") == name);
            let hint = meant.unwrap_or_else(|| "ENTREPOT__SECTION__KEY".to_owned());
            format!(
                "environment variable {name} is ignored; settings are written with two underscores: {hint}"
            )
        })
        .collect();
    warnings.sort_unstable();
    warnings
}

/// Defaults < file < environment < flags.
fn load(cli: &Cli) -> Result<(Config, Vec<Setting>)> {
    let mut layers = Layers::new()?;
    if cli.command.tells_figures() {
        // a line per decision would bury the figures; any setting of log.filter brings them back
        layers.set("log.filter", "warn", Source::Default)?;
    }
    let named = cli.config.clone().or_else(|| std::env::var_os(FILE_VARIABLE).map(PathBuf::from));
    if let Some(file) = named.or_else(|| Some(PathBuf::from(SYSTEM_FILE)).filter(|file| file.exists())) {
        layers.file(&file)?;
    }
    layers.environment(std::env::vars_os().filter_map(|(name, text)| {
        let name = name.into_string().ok()?;
        Some((name, text.to_string_lossy().into_owned()))
    }))?;
    for (path, text, flag) in cli.command.settings() {
        layers.set(path, &text, Source::Flag(flag.to_owned()))?;
    }
    for pair in &cli.set {
        let (path, text) = pair
            .split_once('=')
            .ok_or_else(|| Exit::usage(format!("--set {pair}: expected section.key=value")))?;
        layers.set(path.trim(), text, Source::Flag("--set".to_owned()))?;
    }
    layers.finish()
}

/// One line on standard output. A reader that has gone away is not an error.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn complain(exit: &Exit) {
    let _ = writeln!(std::io::stderr(), "entrepot: {exit}");
}

/// The address of the platform to call: the one named, or the one that has the data directory open.
fn address(named: Option<String>, directory: &Path) -> Result<String> {
    if let Some(address) = named {
        return Ok(address);
    }
    let found = crate::data::holder(directory).and_then(|holder| holder.address);
    found.ok_or_else(|| {
        Exit::usage(format!(
            "no platform runs on {}; start one with `entrepot serve`, or name one with --address http://host:port",
            directory.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_with_one_underscore_is_warned_of() {
        let (_, settings) = Layers::new().unwrap().finish().unwrap();
        let names = [
            "ENTREPOT_SERVER_LISTEN",
            "ENTREPOT_BUS_MIN_INSYNC",
            "ENTREPOT_NONSENSE",
            "ENTREPOT__SERVER__LISTEN",
            "ENTREPOT_TEST_KAFKA",
            "ENTREPOT_CONFIG",
            "PATH",
        ];
        let warnings = misspelled(names.map(ToOwned::to_owned).into_iter(), &settings);
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[0].ends_with("ENTREPOT__BUS__MIN_INSYNC"), "{warnings:?}");
        assert!(warnings[1].ends_with("ENTREPOT__SECTION__KEY"), "{warnings:?}");
        assert!(warnings[2].ends_with("ENTREPOT__SERVER__LISTEN"), "{warnings:?}");
    }
}
