//! A platform set up for measuring: one node that never closes, some SKUs with more stock than a bench can sell.

use std::path::Path;
use std::time::Duration;

use contract::fulfillment::v1::NodeKind;
use contract::inventory::v1 as inv;
use contract::r#type::v1::Method;
use db::{Db, Options};
use tonic::Status;

use super::Args;
use super::bare::Bare;
use crate::clients::{Clients, timestamp};
use crate::cmd::setup::{self, NodeSpec, internal};
use crate::compose::Platform;

/// The node of all benches but `promise`.
pub(crate) const NODE: &str = "bench-01";

/// Connections of a load, as a front of several processes would have them.
const CONNECTIONS: usize = 4;

/// Pool of the bare work on PostgreSQL.
const BARE_CONNECTIONS: u32 = 16;

/// A running platform and what a bench needs of it.
pub(crate) struct Stage<'a> {
    pub(crate) platform: &'a Platform,
    pub(crate) args: &'a Args,
    /// Where files may be made.
    pub(crate) directory: &'a Path,
    /// One set of clients per connection.
    pub(crate) clients: Vec<Clients>,
}

impl<'a> Stage<'a> {
    /// Connects to a platform.
    pub(crate) fn new(platform: &'a Platform, args: &'a Args, directory: &'a Path) -> Result<Self, Status> {
        let connect = || Clients::new(&platform.address(), "ops/bench").map_err(internal);
        let clients = (0..CONNECTIONS).map(|_| connect()).collect::<Result<_, _>>()?;
        Ok(Self { platform, args, directory, clients })
    }

    /// Engine and bus in words.
    pub(crate) fn on(&self) -> String {
        let engine = if self.args.database_url.is_some() { "PostgreSQL" } else { "SQLite" };
        let bus = if self.args.kafka.is_some() { "Kafka" } else { "local bus" };
        format!("{engine} + {bus}")
    }

    /// Code of SKU `index`.
    pub(crate) fn sku(index: usize) -> String {
        format!("BENCH-{index:05}")
    }

    /// Puts the node there.
    pub(crate) async fn node(&self) -> Result<(), Status> {
        let node = setup::node(&NodeSpec {
            id: NODE,
            name: "Bench",
            kind: NodeKind::DarkStore,
            at: (51.5, -0.1),
            time_zone: "Europe/London",
            hours: [Some((0, 24 * 60)); 7],
            method: Method::Pickup,
            preparation_min: 15,
            orders_per_hour: None,
        });
        setup::put_nodes(&self.clients[0], &[node]).await
    }

    /// Puts the SKUs there, each with millions of pieces.
    pub(crate) async fn stock(&self) -> Result<(), Status> {
        let clients = &self.clients[0];
        let skus: Vec<(String, String)> =
            (0..self.args.skus).map(|index| (Self::sku(index), format!("Bench {index}"))).collect();
        setup::put_skus(clients, &skus).await?;
        let rounds = if self.args.skus < 100 { 10 } else { 1 };
        let at = self.platform.clock().business();
        let mut rows = Vec::new();
        for round in 0..rounds {
            rows.extend(skus.iter().map(|(sku, _)| inv::DeltaRow {
                node_id: NODE.to_owned(),
                sku: sku.clone(),
                delta: 1_000_000,
                kind: i32::from(inv::MovementKind::Receipt),
                reference: format!("bench/{round}/{sku}"),
                source_time: Some(timestamp(at)),
            }));
        }
        setup::book(clients, "bench", &rows).await?;
        self.drained().await
    }

    /// Waits until no event is on its way, so that one round's work does not burden the next.
    pub(crate) async fn drained(&self) -> Result<(), Status> {
        setup::events_arrive(self.platform, Duration::from_millis(5), Duration::from_mins(2)).await
    }

    /// The bare side: the same tables in a schema of its own, with a pool of 16 on PostgreSQL; in a file of its own
    /// on SQLite.
    pub(crate) async fn bare(&self) -> Result<Bare, Status> {
        let file = self.directory.join("bare.db");
        let url = self.args.database_url.clone().unwrap_or_else(|| format!("sqlite://{}", file.display()));
        let schema = Some("bench".to_owned());
        let options = Options { schema, max_connections: BARE_CONNECTIONS, ..Options::default() };
        let db = Db::open(&url, &options).await.map_err(internal)?;
        let now = self.platform.clock().business().as_microsecond();
        Bare::new(db, self.args.skus, now).await.map_err(internal)
    }

    /// True when all stock laws hold.
    pub(crate) async fn audit(&self) -> Result<bool, Status> {
        let audit = self.clients[0].inventory.clone().audit(inv::AuditRequest {}).await?;
        Ok(audit.into_inner().ok)
    }

    /// Length of one round of one side.
    pub(crate) fn round(&self) -> Duration {
        Duration::from_secs_f64((self.args.seconds / f64::from(2 * super::ROUNDS)).max(0.2))
    }
}
