//! `entrepot backup` and `restore`: the `SQLite` databases as files.
//!
//! All databases are copied while none of them can be written, so the copies belong together: no service knows of an
//! event that its owner does not.

use std::fs::Permissions;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::{Place, say};
use crate::compose;
use crate::config::{Config, Service};
use crate::data;
use crate::exit::{Class, Exit, Result};

/// What a directory keeps beside its databases.
const OTHERS: [&str; 2] = ["clock", "pickup-code.key"];
/// A copy may take this long, ms.
const COPY_LIMIT_MS: u64 = 600_000;

#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Where to: a directory that does not exist yet.
    target: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// A directory that `entrepot backup` made.
    source: PathBuf,
}

pub(crate) async fn save(args: BackupArgs, config: &Config) -> Result<()> {
    let files = files(config)?;
    let target = std::path::absolute(&args.target).map_err(|error| cannot(&args.target, &error))?;
    // copied beside and renamed at the end: what has the name of a backup is whole
    let staged = target.with_extension("partial");
    if target.exists() {
        let text = format!("{} exists already; name a new directory", target.display());
        return Err(Exit::new(Class::Directory, text));
    }
    // for its owner alone, as the data directory is
    let made = std::fs::DirBuilder::new().mode(0o700).create(&staged);
    made.map_err(|error| cannot(&staged, &error))?;
    let copied = copy_all(config, &files, &staged).await;
    if copied.is_err() {
        let _ = std::fs::remove_dir_all(&staged);
    }
    copied?;
    std::fs::rename(&staged, &target).map_err(|error| cannot(&target, &error))?;
    say(&format!("backed up {} databases to {}", files.len(), target.display()));
    Ok(())
}

async fn copy_all(config: &Config, files: &[(Service, PathBuf)], staged: &Path) -> Result<()> {
    let mut slow = config.clone();
    slow.database.idle_in_tx_timeout_ms = COPY_LIMIT_MS;
    slow.database.statement_timeout_ms = COPY_LIMIT_MS;
    let mut databases = Vec::new();
    for (service, _) in files {
        databases.push((*service, compose::existing_database(&slow, *service).await?));
    }
    // in the order of names, as every backup does, so that two of them cannot wait for each other
    let mut held = Vec::new();
    for (service, db) in &databases {
        held.push(db.begin().await.map_err(|error| Exit::database(service.name(), &error))?);
    }
    for (service, db) in &databases {
        let file = staged.join(format!("{}.db", service.name()));
        db.backup_to(&file).await.map_err(|error| Exit::database(service.name(), &error))?;
    }
    drop(held);
    for name in OTHERS {
        let source = config.data.directory.join(name);
        if source.exists() {
            let copy = staged.join(name);
            std::fs::copy(&source, &copy)
                .and_then(|_| std::fs::set_permissions(&copy, owner_only()))
                .map_err(|error| cannot(&copy, &error))?;
        }
    }
    Ok(())
}

pub(crate) fn restore(args: &RestoreArgs, config: &Config) -> Result<()> {
    let directory = data::open(&config.data.directory)?;
    let broke_off = data::is_half_restored(directory.path());
    for service in Service::ALL {
        let source = args.source.join(format!("{}.db", service.name()));
        if !source.is_file() {
            let text = format!("{} is not a backup: it has no {}.db", args.source.display(), service.name());
            return Err(Exit::new(Class::Directory, text));
        }
        let target = directory.path().join(format!("{}.db", service.name()));
        if target.exists() && !broke_off {
            let text =
                format!("{} has databases already; restore into an empty --data", directory.path().display());
            return Err(Exit::new(Class::Directory, text));
        }
    }
    let names = Service::ALL.map(|service| format!("{}.db", service.name()));
    let names: Vec<&str> = names.iter().map(String::as_str).chain(OTHERS).collect();
    let names: Vec<&str> = names.into_iter().filter(|name| args.source.join(name).exists()).collect();
    // first all of the bytes, then all of the names: a restore that breaks off can be begun again
    for name in &names {
        let staged = directory.path().join(data::staged(name));
        // a copy takes over the permissions of its source, which may have been handed around
        let copied = std::fs::copy(args.source.join(name), &staged)
            .and_then(|_| std::fs::set_permissions(&staged, owner_only()))
            .and_then(|()| std::fs::File::open(&staged)?.sync_all());
        copied.map_err(|error| cannot(&staged, &error))?;
    }
    for name in &names {
        let (staged, target) = (directory.path().join(data::staged(name)), directory.path().join(name));
        std::fs::rename(&staged, &target).map_err(|error| cannot(&target, &error))?;
    }
    let synced = std::fs::File::open(directory.path()).and_then(|folder| folder.sync_all());
    synced.map_err(|error| cannot(directory.path(), &error))?;
    say(&format!("restored {} from {}", directory.path().display(), args.source.display()));
    Ok(())
}

/// The `SQLite` files of this platform, in the order of their names.
fn files(config: &Config) -> Result<Vec<(Service, PathBuf)>> {
    let mut services = config.services();
    services.sort_by_key(|service| service.name());
    let elsewhere = services.iter().find(|service| !config.database_url(**service).starts_with("sqlite:"));
    if let Some(service) = elsewhere {
        return Err(Exit::usage(format!("{} is on PostgreSQL; back it up with pg_dump", service.name())));
    }
    let files: Vec<_> = services.into_iter().map(|service| (service, config.sqlite_file(service))).collect();
    match files.iter().find(|(_, file)| !file.exists()) {
        Some((_, file)) => Err(Exit::new(
            Class::Directory,
            format!("{} does not exist; name another --data", file.display()),
        )),
        None => Ok(files),
    }
}

/// The files hold orders and the key of pickup codes.
fn owner_only() -> Permissions {
    Permissions::from_mode(0o600)
}

fn cannot(path: &Path, error: &std::io::Error) -> Exit {
    Exit::new(Class::Directory, format!("{} cannot be written: {error}", path.display()))
}
