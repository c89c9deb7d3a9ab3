//! What must hold for this process to take traffic.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bus::Bus;
use clock::Clock;
use server::admin::Readiness;
use tokio::sync::watch;

use super::Member;
use super::transport::Topics;
use crate::config::{BusKind, Config};
use crate::guard::{self, Paused};

/// Checks of databases, outboxes and the broker.
pub(super) fn checks(
    config: &Config,
    clock: &Clock,
    bus: &Bus,
    topics: &Topics,
    members: &[Member],
    relays: &[watch::Receiver<bool>],
) -> Readiness {
    let mut readiness = Readiness::new();
    let limit = Duration::from_secs(config.admin.max_outbox_age_s);
    for member in members {
        let name = member.service.name();
        if let Some(file) = config.database_url(member.service).strip_prefix("sqlite://") {
            let (file, opened) = (PathBuf::from(file), identity(Path::new(file)));
            readiness = readiness.check(&format!("database file {name}"), move || {
                std::future::ready(is_in_place(&file, opened))
            });
        }
        let db = member.db.clone();
        readiness = readiness.check(&format!("database {name}"), move || answers(db.clone()));
        if let Some(service) = member.stock_view.clone() {
            // Inventory that is away is shown and nothing more: orders with a token can be placed all the same.
            readiness = readiness.check("stock view", move || {
                std::future::ready(Ok(service.stock_view().unwrap_or_else(|why| why)))
            });
        }
        // on a virtual clock an age means nothing
        if !clock.is_virtual() {
            let (paused, clock, engine) = (member.paused.clone(), clock.clone(), member.db.engine());
            readiness = readiness.check(&format!("timers {name}"), move || {
                std::future::ready(Ok(running(&paused, &clock, engine)))
            });
        }
        if !clock.is_virtual() {
            let (db, clock) = (member.db.clone(), clock.clone());
            readiness =
                readiness.check(&format!("outbox {name}"), move || young(db.clone(), clock.clone(), limit));
        }
    }
    if config.bus.kind == BusKind::Kafka {
        let (relays, at_start) = (relays.to_vec(), topics.clone());
        // once it was waited for, a broker that is away is shown and nothing more: orders can be taken meanwhile
        readiness = readiness.check("broker", move || {
            let warm = relays.iter().all(|relay| *relay.borrow());
            std::future::ready(match (warm, at_start.has_waited()) {
                (true, _) => Ok("connected".to_owned()),
                (false, true) => Ok("does not answer; events wait in their outboxes".to_owned()),
                (false, false) => Err("not connected yet".to_owned()),
            })
        });
        if config.bus.create_topics {
            let topics = topics.clone();
            readiness = readiness.check("topics", move || {
                let pending = topics.pending().map(|why| format!("not checked yet: {why}"));
                std::future::ready(Ok(pending.unwrap_or_else(|| "in place".to_owned())))
            });
        }
        let bus = bus.clone();
        // an alarm for people: what was lost comes from its owners, and orders can be taken meanwhile
        readiness = readiness.check("event log", move || {
            let resets = bus.offset_resets();
            let text = if resets.is_empty() { "in place".to_owned() } else { resets.join("; ") };
            std::future::ready(Ok(text))
        });
    }
    readiness
}

/// Device and number of a file: a removed or replaced file has another identity than the one that is open.
fn identity(file: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(file).ok().map(|file| (file.dev(), file.ino()))
}

fn is_in_place(file: &Path, opened: Option<(u64, u64)>) -> Result<String, String> {
    if opened.is_some() && identity(file) == opened {
        return Ok("in place".to_owned());
    }
    Err(format!(
        "{} was removed or replaced while it is in use; what is written from now on is lost at the stop, so stop taking \
         orders, copy /proc/{}/fd/* that still point to it, and restore",
        file.display(),
        std::process::id()
    ))
}

/// Paused timers do not make a process unfit for traffic: orders are taken meanwhile.
fn running(paused: &Paused, clock: &Clock, engine: db::Engine) -> String {
    let leapt = || clock.leap().map(|ahead| guard::leapt(engine, ahead));
    paused.why().or_else(leapt).map_or("running".to_owned(), |why| format!("PAUSED: {why}"))
}

async fn answers(db: db::Db) -> Result<String, String> {
    if let Some(error) = db.out_of_space() {
        return Err(format!("writes fail, make room on the disk of the database: {error}"));
    }
    let asked = Instant::now();
    let mut tx = db.read().await.map_err(|error| error.to_string())?;
    tx.fetch_one("SELECT 1 AS one", db::params![]).await.map_err(|error| error.to_string())?;
    Ok(format!("{} ms", asked.elapsed().as_millis()))
}

async fn young(db: db::Db, clock: Clock, limit: Duration) -> Result<String, String> {
    let mut tx = db.read().await.map_err(|error| error.to_string())?;
    let oldest = bus::outbox::oldest(&mut tx).await.map_err(|error| error.to_string())?;
    let Some(oldest) = oldest else { return Ok("empty".to_owned()) };
    let age = Duration::try_from(clock.business().duration_since(oldest)).unwrap_or_default();
    let text = format!("oldest event waits for {} s", age.as_secs());
    if limit.is_zero() || age <= limit {
        Ok(text)
    } else {
        Err(format!("{text}, more than {}", limit.as_secs()))
    }
}
