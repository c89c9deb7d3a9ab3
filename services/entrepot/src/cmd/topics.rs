//! `entrepot topics`: the topics at the broker.

use crate::config::{BusKind, Config};
use crate::exit::{Exit, Result};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make the topics that are missing; those that exist are only checked.
    Apply,
}

pub(crate) async fn run(command: &Command, config: &Config) -> Result<()> {
    if config.bus.kind != BusKind::Kafka {
        return Err(Exit::usage("the local bus has no topics; set bus.kind = \"kafka\" and bus.brokers"));
    }
    match command {
        Command::Apply => apply(config).await,
    }
}

#[cfg(feature = "kafka")]
async fn apply(config: &Config) -> Result<()> {
    use bus::kafka::Applied;
    for applied in crate::compose::apply_topics(config).await? {
        match applied {
            Applied::Created { topic } => super::say(&format!("created {topic}")),
            Applied::Present { topic } => super::say(&format!("present {topic}")),
            // reported as an error before
            Applied::OtherPartitions { .. } => {}
        }
    }
    Ok(())
}

#[cfg(not(feature = "kafka"))]
async fn apply(_: &Config) -> Result<()> {
    Err(Exit::usage("this build has no Kafka; build it with the feature `kafka`"))
}
