//! The headline flows, races and crash points, through the public API.

/// Each flow on SQLite and the local bus, again on PostgreSQL and Kafka, and once more there with each service in a
/// process of its own. In brackets: what makes these three stages.
macro_rules! everywhere {
    (($embedded:ident, $kafka:ident, $three:ident) $($flow:ident),+ $(,)?) => {
        mod embedded {
            $(everywhere!($embedded $flow);)+
        }

        mod postgres_and_kafka {
            $(everywhere!($kafka $flow);)+
        }

        mod three_processes {
            $(everywhere!($three $flow);)+
        }
    };
    ($stage:ident $flow:ident) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $flow() {
            if let Some(stage) = super::Stage::$stage().await {
                Box::pin(super::$flow(stage)).await;
            }
        }
    };
}

mod architecture;
mod bad_input;
mod clocks;
mod commands;
mod crash;
mod holders;
mod import;
mod kafka;
mod log;
mod marketplace;
mod money;
mod operators;
mod overdue;
mod oversell;
mod pickup;
mod policy;
mod readiness;
mod relief;
mod reroute;
mod reroute_crash;
mod silent;
mod split;
mod staff;
