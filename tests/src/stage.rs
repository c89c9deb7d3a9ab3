//! Where a flow is played: in one process, or in three.

use contract::orders::v1 as ord;

use crate::processes::Processes;
use crate::world::{NODE, People, World};

/// A running platform of one kind or the other.
pub enum Stage {
    /// All services in this process.
    One(Box<World>),
    /// Each service in a process of its own, on PostgreSQL and Kafka.
    Three(Box<Processes>),
}

impl Stage {
    /// All in this process, on SQLite files and the local bus.
    pub async fn embedded() -> Option<Self> {
        Some(Self::One(Box::new(World::embedded().await)))
    }

    /// All in this process, on PostgreSQL and the local bus; none, said loudly, where there is no PostgreSQL.
    pub async fn postgres() -> Option<Self> {
        Some(Self::One(Box::new(World::postgres().await?)))
    }

    /// All in this process, on PostgreSQL and Kafka; none, said loudly, where either is missing.
    pub async fn kafka() -> Option<Self> {
        Some(Self::One(Box::new(World::kafka().await?)))
    }

    /// The same as `embedded`, with time that only passes when the flow says so.
    pub async fn embedded_in_no_time() -> Option<Self> {
        Some(Self::One(Box::new(World::virtual_at(START).await)))
    }

    /// The same as `kafka`, with time that only passes when the flow says so.
    pub async fn kafka_in_no_time() -> Option<Self> {
        Some(Self::One(Box::new(World::virtual_on_kafka(START).await?)))
    }

    /// Three processes on PostgreSQL and Kafka; none, said loudly, where either is missing.
    pub async fn three_processes() -> Option<Self> {
        let processes = Processes::start().await?;
        processes.people("ops/test").put_node(NODE).await;
        processes.settle().await;
        Some(Self::Three(Box::new(processes)))
    }

    /// Clients that act as `actor`.
    pub fn clients(&self, actor: &str) -> People {
        match self {
            Self::One(world) => world.clients(actor),
            Self::Three(processes) => processes.people(actor),
        }
    }

    /// Waits until no event is on its way.
    pub async fn settle(&self) {
        match self {
            Self::One(world) => world.settle().await,
            Self::Three(processes) => processes.settle().await,
        }
    }

    /// Lets time pass, and everything that falls due in it happen.
    pub async fn pass(&self, hours: i64, minutes: i64) {
        match self {
            Self::One(world) => world.pass(hours, minutes).await,
            Self::Three(processes) => processes.pass(hours, minutes).await,
        }
    }

    /// Moves time on, and waits for nothing that falls due in it.
    pub async fn skip(&self, minutes: i64) {
        match self {
            Self::One(world) => world.skip(minutes),
            Self::Three(processes) => processes.skip(minutes).await,
        }
    }

    /// Hands over everything of a leg, from the beginning.
    pub async fn complete(&self, leg: &ord::Leg) {
        let store = self.clients(&format!("store/{}", leg.node_id));
        let work = store.get(&leg.fulfillment_id).await.expect("the work is there");
        store.prepare(&work).await;
        let code = self.clients("channel/web").issue_code(&leg.fulfillment_id).await.expect("a code");
        store.hand_over(&leg.fulfillment_id, &code, &[]).await.expect("handed over");
    }

    /// Ends it.
    pub async fn stop(self) {
        match self {
            Self::One(world) => world.stop().await,
            Self::Three(processes) => assert_eq!(processes.parked().await, 0, "no event was given up"),
        }
    }
}

/// When flows on a virtual clock begin.
const START: &str = "2026-03-02T02:00:00Z";
