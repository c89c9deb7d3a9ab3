//! How long the steps of work may take: what policies say, and the settings where they say nothing.

use domain::fulfillment::{Clocks, Method};
use domain::id::NodeId;
use domain::policy::{Asked, Book};
use jiff::Timestamp;

use crate::Fulfillment;

impl Fulfillment {
    /// The clocks of work that a node does for a channel. Those that start now go by them; those that run keep their times.
    pub(crate) fn clocks(
        &self,
        book: &Book,
        node: &NodeId,
        channel: &str,
        method: Method,
        now: Timestamp,
    ) -> Clocks {
        let channel = Some(channel).filter(|channel| !channel.is_empty());
        let asked = Asked { node: Some(node), channel, method: Some(method), ..Asked::default() };
        self.work.clocks.with(&book.clocks(&asked, now))
    }
}
