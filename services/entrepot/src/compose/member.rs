//! One service of this process and what it is connected to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bus::{Bus, Consumer};
use clock::Clock;
use db::Db;
use fulfillment::Fulfillment;
use inventory::Inventory;
use orders::Orders;
use server::{Peer, Principal, peer};
use service::shape::Task;
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;

use super::transport;
use crate::config::{Config, Service};
use crate::data;
use crate::exit::{Class, Exit, Result};
use crate::guard::Paused;

/// A service that runs in this process.
pub(crate) struct Member {
    pub(crate) service: Service,
    pub(crate) db: Db,
    /// Why what is due waits, if it does.
    pub(crate) paused: Paused,
    pub(crate) running: Arc<dyn service::Service>,
    /// The view of the stock that its promises go by, if it keeps one.
    pub(super) stock_view: Option<Arc<Fulfillment>>,
}

/// Builds the services that `config` names, each after those that it asks.
pub(super) async fn build(config: &Config, clock: &Clock) -> Result<Vec<Member>> {
    let mut members: Vec<Member> = Vec::new();
    for service in config.services() {
        let (db, _) = open_database(config, service).await?;
        transport::admit(config, service, &db).await?;
        let member = match service {
            Service::Inventory => Member::new(service, db.clone(), inventory(config, clock, db).await?),
            Service::Fulfillment => {
                let peer = peer_of(Service::Inventory, &members, service, config)?;
                fulfillment(config, clock, db, peer).await?
            }
            Service::Orders => {
                let peer = peer_of(Service::Fulfillment, &members, service, config)?;
                orders(config, clock, db, peer).await?
            }
        };
        members.push(member);
    }
    Ok(members)
}

/// Opens the database of a service and brings its tables up to date; answers how many migrations that took.
pub(crate) async fn open_database(config: &Config, service: Service) -> Result<(Db, u32)> {
    let failed = |error: db::Error| Exit::database(service.name(), &error);
    let directory = &config.data.directory;
    let file = config.database_url(service).strip_prefix("sqlite://").map(PathBuf::from);
    if let Some(file) = &file {
        data::expect_database(directory, service.name(), file)?;
    }
    let db = connect(config, service).await?;
    let own = service.about().migrations;
    let of_bus = db.migrate(bus::MIGRATION_SET, bus::MIGRATIONS).await.map_err(failed)?;
    let of_service = db.migrate(service.name(), own).await.map_err(failed)?;
    if file.is_some() {
        data::remember_database(directory, service.name())?;
    }
    Ok((db, of_bus + of_service))
}

async fn connect(config: &Config, service: Service) -> Result<Db> {
    let mut options = config.database_options(service);
    let url = config.database_url(service);
    if let Some(path) = url.strip_prefix("sqlite://") {
        if !Path::new(path).is_absolute() {
            return Err(Exit::usage(format!(
                "the database URL `{url}` of {} is not an absolute path",
                service.name()
            )));
        }
        // readers of a file: more of them cost memory and win nothing
        options.max_connections = options.max_connections.min(SQLITE_READERS);
    }
    Db::open(&url, &options).await.map_err(|error| Exit::database(service.name(), &error))
}

/// Opens a database that must be there already, and leaves its tables as they are.
pub(crate) async fn existing_database(config: &Config, service: Service) -> Result<Db> {
    let file = config.sqlite_file(service);
    if config.database_url(service).starts_with("sqlite:") && !file.exists() {
        let text = format!("{} does not exist; name another --data", file.display());
        return Err(Exit::new(Class::Directory, text));
    }
    connect(config, service).await
}

/// Inventory by itself, to be asked in this process: no bus, no timers, no port.
pub(crate) async fn inventory_alone(config: &Config, clock: &Clock) -> Result<Peer> {
    let db = existing_database(config, Service::Inventory).await?;
    Ok(inventory(config, clock, db).await?.peer())
}

/// Connections that read one `SQLite` file.
const SQLITE_READERS: u32 = 4;

/// Reads of one service that run at once.
pub(super) fn readers(config: &Config) -> usize {
    let most = config.database.max_connections;
    let readers = if config.uses_files() { most.min(SQLITE_READERS) } else { most };
    usize::try_from(readers).unwrap_or(usize::MAX)
}

/// The peer that `asking` asks, under its own name: a service of this process if it runs here, else the one at its address.
fn peer_of(asked: Service, members: &[Member], asking: Service, config: &Config) -> Result<Peer> {
    let here = members.iter().find(|member| member.service == asked);
    let plain = match here {
        Some(member) => member.peer(),
        None => peer::remote_named(asked.name(), config.peers.address(asked), config.peers.options())
            .map_err(|error| Exit::usage(format!("setting `peers.{}`: {error}", asked.name())))?,
    };
    Ok(peer::acting(plain, &Principal::service(asking.name())))
}

async fn inventory(config: &Config, clock: &Clock, db: Db) -> Result<Arc<Inventory>> {
    let built = Inventory::new(db, clock.clone(), &config.inventory).await;
    built.map_err(|error| Exit::other("inventory cannot start", &error))
}

async fn fulfillment(config: &Config, clock: &Clock, db: Db, inventory: Peer) -> Result<Member> {
    let mut settings = config.fulfillment.clone();
    let key = if config.secrets.pickup_code_key.is_empty() {
        let directory = data::make(&config.data.directory)?;
        let known = fulfillment::has_pickup_code_key(&db).await;
        let known = known.map_err(|error| Exit::other("fulfillment cannot start", &error))?;
        if known && !settings.work.replace_pickup_code_key && !data::has_pickup_code_key(&directory) {
            return Err(Exit::other("fulfillment cannot start", &fulfillment::Error::OtherKey));
        }
        data::pickup_code_key(&directory)?
    } else {
        config.secrets.pickup_code_key.reveal().to_owned()
    };
    settings.work.pickup_code_secret = fulfillment::Secret::new(key);
    let peers = fulfillment::Peers { inventory };
    let built = Fulfillment::new(db.clone(), clock.clone(), settings, peers)
        .await
        .map_err(|error| Exit::other("fulfillment cannot start", &error))?;
    Ok(Member { stock_view: Some(Arc::clone(&built)), ..Member::new(Service::Fulfillment, db, built) })
}

async fn orders(config: &Config, clock: &Clock, db: Db, fulfillment: Peer) -> Result<Member> {
    let built = Orders::new(db.clone(), clock.clone(), config.orders.clone(), fulfillment)
        .await
        .map_err(|error| Exit::other("orders cannot start", &error))?;
    Ok(Member::new(Service::Orders, db, built))
}

impl Member {
    fn new(service: Service, db: Db, running: Arc<dyn service::Service>) -> Self {
        Self { service, db, paused: Paused::default(), running, stock_view: None }
    }

    pub(super) fn add_routes(&self, routes: &mut RoutesBuilder) {
        Arc::clone(&self.running).add_routes(routes);
    }

    /// What must run beside its calls, by name.
    pub(super) fn background(&self, bus: &Bus, stop: &CancellationToken) -> Vec<Task> {
        Arc::clone(&self.running).background(bus, stop)
    }

    /// The events that it hears.
    pub(super) fn consumer(&self) -> Arc<dyn Consumer> {
        Arc::<dyn service::Service>::clone(&self.running)
    }

    fn peer(&self) -> Peer {
        service::shape::peer(Arc::clone(&self.running))
    }
}
