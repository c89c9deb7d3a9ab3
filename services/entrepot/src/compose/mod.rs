//! Which services, which peers, which bus: the one place that knows them all.
//!
//! [`Platform::start`] builds a running platform from settings; commands, tests and the demo use nothing else.

mod member;
mod readiness;
mod replay;
mod statistics;
mod stop;
mod transport;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bus::lease::Keeper;
use bus::{Bus, Relay};
use clock::Clock;
use jiff::Timestamp;
use server::listen::{Dropped, Listener};
use server::task::Tasks;
use server::{Door, Hosts, Peer, UnreadLimits, admin, door, listen};
use service::shape::Failure;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::config::{BusKind, Config, Service};
use crate::data::{self, ClockMode, Directory};
use crate::exit::{Class, Exit, Result};
use crate::guard::{self, Guard};
use crate::timers;
use member::Member;
use stop::Stages;

pub(crate) use member::{existing_database, inventory_alone, open_database};
pub use stop::Stopped;
#[cfg(feature = "kafka")]
pub(crate) use transport::kafka::apply as apply_topics;
pub(crate) use transport::kafka::listen;

/// How long the start waits for the broker before it goes on without; events then wait in their outboxes.
const BROKER_WAIT: Duration = Duration::from_secs(10);
/// How often the place of a virtual clock is written down.
const CLOCK_RECORD: Duration = Duration::from_hours(1);

/// A running platform, or that part of one which this process runs.
pub struct Platform {
    address: SocketAddr,
    admin: Option<SocketAddr>,
    clock: Clock,
    bus: Bus,
    door: Door,
    members: Vec<Member>,
    tasks: Tasks,
    stages: Stages,
    listening: JoinHandle<Dropped>,
    directory: Option<Directory>,
    data_directory: PathBuf,
    bus_kind: BusKind,
    recorded: std::sync::Mutex<Timestamp>,
    grace: Duration,
}

/// Ports are taken first: a port in use is the commonest mistake, and says so before anything is touched.
struct Ports {
    listener: Listener,
    address: SocketAddr,
    admin: Option<(TcpListener, SocketAddr)>,
}

impl Platform {
    /// Starts the services that `config` names. On a system clock what is due runs by itself; on a virtual one only
    /// [`Platform::run_due`] runs it.
    pub async fn start(config: Config, clock: Clock) -> Result<Self> {
        config.check()?;
        let config = &config;
        if let Some((place, nth)) = config.drill.parse() {
            db::drill::arm(place, nth);
        }
        // before anything is counted
        server::telemetry::metrics();
        server::telemetry::describe(crate::metrics::METRICS);
        server::trace::carry_with(|trace, work| Box::pin(bus::trace::scope(Some(trace), work)));
        let directory = open_directory(config, &clock)?;
        let ports = Ports::take(config).await?;
        // first of all the databases say whether this bus may be used; then its topics are made
        let members = Box::pin(member::build(config, &clock)).await?;
        let (bus, topics) = transport::connect(config, &clock).await?;
        Box::pin(set_clock(&clock, &members)).await?;
        let stages = Stages::new();
        let tasks = Tasks::new(stages.shutdown.clone());
        let door = build_door(config, &members, &stages)?;
        let relays = connect_bus(config, &clock, &bus, &members, &tasks, &stages)?;
        if topics.pending().is_some() {
            let stop = stages.bus.token().clone();
            tasks.spawn(
                "topics",
                transport::keep_applying(config.clone(), clock.clone(), topics.clone(), stop),
            );
        }
        let warm_relays: Vec<_> = relays.iter().map(|(_, relay)| relay.ready()).collect();
        for (name, relay) in relays {
            tasks.spawn(&format!("relay {name}"), relay.run(stages.bus.token().clone()));
        }
        if !clock.is_virtual() {
            start_timers(config, &clock, &members, &tasks, &stages);
        }
        let admin = ports.admin.as_ref().map(|(_, address)| *address);
        if let Some((listener, _)) = ports.admin {
            let readiness = readiness::checks(config, &clock, &bus, &topics, &members, &warm_relays);
            let (shutdown, stop) = (stages.shutdown.clone(), stages.admin.clone());
            let hosts = hosts(config);
            tasks.spawn("admin", async move {
                admin::run(listener, hosts, readiness, crate::VERSION, shutdown, stop).await;
            });
        }
        let listening = tokio::spawn(ports.listener.run(door.clone(), stages.intake.clone()));
        topics.wait_warm(warm_relays, BROKER_WAIT).await;
        door.set_serving(true).await;
        let platform = Self {
            address: ports.address,
            admin,
            clock,
            bus,
            door,
            members,
            tasks,
            stages,
            listening,
            directory,
            data_directory: config.data.directory.clone(),
            bus_kind: config.bus.kind,
            recorded: std::sync::Mutex::new(Timestamp::MIN),
            grace: Duration::from_millis(config.server.shutdown_grace_ms),
        };
        platform.announce()?;
        Ok(platform)
    }

    /// Where it is called: `http://127.0.0.1:7400`.
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where operators look: `http://127.0.0.1:7401`.
    pub fn admin_address(&self) -> Option<String> {
        self.admin.map(|address| format!("http://{address}"))
    }

    /// Its time.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The services of this process, callable without a network, with the same checks as over it.
    pub fn peer(&self) -> Peer {
        self.door.peer()
    }

    /// The database of a service that runs here.
    pub fn database(&self, service: Service) -> Option<&db::Db> {
        self.members.iter().find(|member| member.service == service).map(|member| &member.db)
    }

    /// Why the timers of a service end nothing at the moment, if they do not.
    pub fn paused(&self, service: Service) -> Option<String> {
        self.members.iter().find(|member| member.service == service).and_then(|member| member.paused.why())
    }

    /// Where its files are.
    pub fn data_directory(&self) -> &Path {
        &self.data_directory
    }

    /// Which transport carries its events.
    pub fn bus_kind(&self) -> BusKind {
        self.bus_kind
    }

    /// Runs what is due at `now` in all services; answers how much there was.
    pub async fn run_due(&self, now: Timestamp) -> Result<usize> {
        let mut done = 0;
        for member in &self.members {
            let next = member.running.next_due().await.map_err(|error| due_failed(member, &error))?;
            if next.is_some_and(|next| next <= now) {
                done += member.running.run_due(now).await.map_err(|error| due_failed(member, &error))?;
            }
        }
        self.record_clock(now)?;
        Ok(done)
    }

    /// When the next thing is due in any service.
    pub async fn next_due(&self) -> Result<Option<Timestamp>> {
        let mut next: Option<Timestamp> = None;
        for member in &self.members {
            let due = member.running.next_due().await.map_err(|error| due_failed(member, &error))?;
            next = match (next, due) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        Ok(next)
    }

    /// Whether nothing goes on: all events are published and applied, and nothing is due now. On a virtual clock nothing
    /// runs by itself when it is due, so it runs here: an event may make something due at once.
    pub async fn idle(&self) -> Result<bool> {
        let databases: Vec<db::Db> = self.members.iter().map(|member| member.db.clone()).collect();
        if !self.bus.idle(&databases).await.map_err(|error| Exit::bus("the bus cannot be asked", &error))? {
            return Ok(false);
        }
        let now = self.clock.business();
        let is_due = self.next_due().await?.is_some_and(|due| due <= now);
        if is_due && self.clock.is_virtual() {
            self.run_due(now).await?;
        }
        Ok(!is_due)
    }

    /// Comes back when the platform must stop by itself: a background task panicked.
    pub async fn failed(&self) -> Vec<String> {
        self.stages.shutdown.begun().await;
        self.tasks.panics()
    }

    fn announce(&self) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        directory.announce(Some(&self.address()))?;
        directory.record_clock(self.clock_mode())
    }

    fn clock_mode(&self) -> ClockMode {
        if self.clock.is_virtual() {
            ClockMode::Virtual { now: self.clock.business() }
        } else {
            ClockMode::System
        }
    }

    /// Writes down where a virtual clock stands, now and then.
    fn record_clock(&self, now: Timestamp) -> Result<()> {
        let Some(directory) = self.directory.as_ref().filter(|_| self.clock.is_virtual()) else {
            return Ok(());
        };
        let mut recorded = self.recorded.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_due = recorded.checked_add(CLOCK_RECORD).map_or(true, |next| now >= next);
        if *recorded == Timestamp::MIN || is_due {
            directory.record_clock(self.clock_mode())?;
            *recorded = now;
        }
        Ok(())
    }
}

impl Ports {
    async fn take(config: &Config) -> Result<Self> {
        let listener = Listener::bind(listen_config(config))
            .map_err(|error| cannot_bind("server.listen", config.server.listen, &error))?;
        let address =
            listener.address().map_err(|error| cannot_bind("server.listen", config.server.listen, &error))?;
        let admin = if config.admin.enabled {
            let wanted = config.admin.listen;
            let listener = TcpListener::bind(wanted)
                .await
                .map_err(|error| cannot_bind("admin.listen", wanted, &error))?;
            let address =
                listener.local_addr().map_err(|error| cannot_bind("admin.listen", wanted, &error))?;
            Some((listener, address))
        } else {
            None
        };
        Ok(Self { listener, address, admin })
    }
}

fn cannot_bind(setting: &str, address: SocketAddr, error: &std::io::Error) -> Exit {
    let why = if error.kind() == std::io::ErrorKind::AddrInUse {
        "another program has that port; stop it, or choose another one (0 = any free one)".to_owned()
    } else {
        error.to_string()
    };
    Exit::new(Class::Bind, format!("cannot listen on {address} (setting `{setting}`): {why}"))
}

/// The data directory, if some service keeps its state there.
fn open_directory(config: &Config, clock: &Clock) -> Result<Option<Directory>> {
    if !config.uses_files() {
        return Ok(None);
    }
    let directory = data::open(&config.data.directory)?;
    directory.announce(None)?;
    directory.expect_whole()?;
    directory.admit(clock)?;
    Ok(Some(directory))
}

fn listen_config(config: &Config) -> listen::Config {
    let server = &config.server;
    listen::Config {
        address: server.listen,
        max_connections: server.max_connections,
        max_streams_per_connection: server.max_streams_per_connection,
        keepalive_interval: Duration::from_secs(server.keepalive_interval_s),
        keepalive_timeout: Duration::from_secs(server.keepalive_timeout_s),
        max_connection_age: Duration::from_secs(server.max_connection_age_s),
        max_connection_age_grace: Duration::from_secs(server.max_connection_age_grace_s),
        drain_limit: Duration::from_secs(server.drain_limit_s),
        cors_origins: server.cors_origins.split(',').map(|origin| origin.trim().to_owned()).collect(),
        hosts: hosts(config),
        unread: UnreadLimits {
            per_connection: server.max_unread_per_connection_kib.saturating_mul(1_024),
            in_all: server.max_unread_kib.saturating_mul(1_024),
            stalled_after: Duration::from_secs(server.stalled_answer_s),
        },
    }
}

fn hosts(config: &Config) -> Hosts {
    Hosts::new(config.server.hosts.split(','))
}

fn build_door(config: &Config, members: &[Member], stages: &Stages) -> Result<Door> {
    let limits = door::Limits {
        default_deadline: Duration::from_millis(config.server.default_deadline_ms),
        max_deadline: Duration::from_millis(config.server.max_deadline_ms),
        max_in_flight: config.server.max_in_flight,
        max_reads_per_connection: match config.server.max_reads_per_connection {
            0 => (member::readers(config) / 4).max(1),
            most => most,
        },
        max_open_streams: config.server.max_open_streams,
        stream_heartbeat: Duration::from_secs(config.server.stream_heartbeat_s),
        anonymous_allowed: config.server.allow_anonymous,
    };
    let mut routes = tonic::service::RoutesBuilder::default();
    for member in members {
        member.add_routes(&mut routes);
    }
    let services: Vec<&str> =
        members.iter().flat_map(|member| member.service.about().serves.iter().copied()).collect();
    let access = members.iter().flat_map(|member| member.service.about().access.iter().copied()).collect();
    let offer = door::Offer { routes, services: &services, descriptors: &[contract::DESCRIPTORS], access };
    Door::new(offer, &limits, stages.intake.clone())
        .map_err(|error| Exit::other("the port cannot be opened", &error))
}

/// Registers every consumer, then makes the relays: on the local bus an event counts as delivered when the consumers
/// known by then have it.
fn connect_bus(
    config: &Config,
    clock: &Clock,
    bus: &Bus,
    members: &[Member],
    tasks: &Tasks,
    stages: &Stages,
) -> Result<Vec<(&'static str, Relay)>> {
    let owners = replay::from_owners(config, clock, members)?;
    for member in members {
        let consuming = bus.consume(&member.db, member.consumer(), owners.clone());
        tasks
            .spawn(&format!("consumer {}", member.service.name()), consuming.run(stages.bus.token().clone()));
        for (name, work) in member.background(bus, stages.bus.token()) {
            tasks.spawn(name, work);
        }
        if member.db.engine().has_statistics() {
            let keeping = statistics::keep(member.db.clone(), clock.clone(), stages.bus.token().clone());
            tasks.spawn(&format!("statistics {}", member.service.name()), keeping);
        }
    }
    let settings = bus::Settings {
        events_days: config.bus.events_days,
        inbox_hours: config.bus.inbox_hours,
        lease_ms: config.bus.lease_ms,
    };
    let of_member = |member: &Member| {
        let name = member.service.name();
        (name, bus.relay(&member.db, name).with(settings.clone()))
    };
    Ok(members.iter().map(of_member).collect())
}

/// Sets business time by the database's before anything reads it.
async fn set_clock(clock: &Clock, members: &[Member]) -> Result<()> {
    let Some(first) = members.first().filter(|_| !clock.is_virtual()) else { return Ok(()) };
    let failed = |error| Exit::new(Class::Other, format!("the database does not tell the time: {error}"));
    guard::once(&first.db, clock).await.map_err(failed)
}

fn start_timers(config: &Config, clock: &Clock, members: &[Member], tasks: &Tasks, stages: &Stages) {
    if let Some(first) = members.first() {
        let comparing = guard::compare(first.db.clone(), clock.clone(), stages.timers.token().clone());
        tasks.spawn("clock", comparing);
    }
    for member in members {
        let term = Duration::from_millis(u64::from(config.bus.lease_ms));
        let lease = Keeper::new(member.db.clone(), clock.clone(), "timers", Uuid::new_v4().to_string(), term);
        let due = Arc::clone(&member.running);
        let most = config.timers.most_at_once;
        let guard = Guard::new(member.db.clone(), clock.clone(), member.paused.clone(), most);
        let run =
            timers::run(due, member.db.clone(), clock.clone(), lease, guard, stages.timers.token().clone());
        tasks.spawn(&format!("timers {}", member.service.name()), run);
    }
}

fn due_failed(member: &Member, error: &Failure) -> Exit {
    Exit::new(Class::Other, format!("what is due in {} cannot be run: {error}", member.service.name()))
}
