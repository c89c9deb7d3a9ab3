//! `entrepot config`: the settings in effect.

use super::{Place, say};
use crate::config::{Setting, Source};
use crate::exit::Result;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Only those that somebody set.
    #[arg(long)]
    changed: bool,
}

/// Prints TOML with the source of each value that is not a default. Bad settings never get here.
#[expect(clippy::unnecessary_wraps, reason = "commands answer alike")]
pub(crate) fn run(args: &Args, settings: &[Setting]) -> Result<()> {
    let mut section = "";
    for setting in settings.iter().filter(|setting| !args.changed || setting.source != Source::Default) {
        let (this, key) = setting.path.rsplit_once('.').unwrap_or(("", &setting.path));
        if this != section {
            section = this;
            say(&format!("\n[{section}]"));
        }
        match &setting.source {
            Source::Default => say(&format!("{key} = {}", setting.value)),
            source => say(&format!("{key} = {} # {source}", setting.value)),
        }
    }
    Ok(())
}
