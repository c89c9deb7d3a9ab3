//! `entrepot timers`: what an operator says to timers that stopped by themselves.

use std::time::Duration;

use super::{Place, say};
use crate::config::Config;
use crate::exit::{Class, Exit, Result};
use crate::{compose, guard};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// The clock is right and what is due may end, however much it is.
    Resume {
        #[command(flatten)]
        place: Place,
        /// For how long that holds, in minutes.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_440))]
        minutes: u64,
        /// Who says so.
        #[arg(long, default_value = "ops/cli")]
        actor: String,
    },
}

impl Command {
    pub(crate) fn place(&self) -> &Place {
        match self {
            Self::Resume { place, .. } => place,
        }
    }
}

pub(crate) async fn run(command: Command, config: &Config) -> Result<()> {
    let Command::Resume { minutes, actor, .. } = command;
    let actor =
        server::Principal::parse(&actor).map_err(|why| Exit::usage(format!("--actor {actor}: {why}")))?;
    for service in config.services() {
        let failed = |error: db::Error| Exit::database(service.name(), &error);
        let db = compose::existing_database(config, service).await?;
        let mut tx = db.begin().await.map_err(failed)?;
        let term = Duration::from_secs(minutes * 60);
        guard::resume(&mut tx, actor.as_str(), term).await.map_err(|error| {
            Exit::new(Class::Other, format!("timers of {} cannot be resumed: {error}", service.name()))
        })?;
        tx.commit().await.map_err(failed)?;
        db.close().await;
    }
    say(&format!(
        "timers of the running platform go on within a second; for {minutes} min everything due ends"
    ));
    Ok(())
}
