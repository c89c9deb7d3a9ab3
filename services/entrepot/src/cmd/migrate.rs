//! `entrepot migrate`: brings the tables of the services up to date, as `serve` does at its start.

use super::{Place, say};
use crate::compose;
use crate::config::Config;
use crate::data;
use crate::exit::Result;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) place: Place,
}

pub(crate) async fn run(config: &Config) -> Result<()> {
    let _lock = if config.uses_files() { Some(data::open(&config.data.directory)?) } else { None };
    for service in config.services() {
        let (db, applied) = compose::open_database(config, service).await?;
        say(&format!("{}: {applied} migrations applied ({})", service.name(), db.engine().name()));
        db.close().await;
    }
    Ok(())
}
