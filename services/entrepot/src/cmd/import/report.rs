//! What became of the rows of a file, as people read it.

use contract::inventory::v1::inventory_service_client::InventoryServiceClient;
use contract::inventory::v1::{Availability, BatchGetAvailabilityRequest, NodeSku, RowResult, RowVerdict};
use domain::id::{NodeId, Sku};
use server::Peer;

use super::rows::Refused;
use crate::cmd::say;
use crate::exit::{Exit, Result};

/// Positions of one question.
const PAIRS: usize = 250;

/// The verdicts of a file.
#[derive(Debug, Default)]
pub(super) struct Report {
    applied: u64,
    known: u64,
    /// Something newer is known: the figure that stays is not an old one.
    stale: Vec<Refused>,
    refused: Vec<Refused>,
}

impl Report {
    /// Begins with the rows that were not sent.
    pub(super) fn new(refused: Vec<Refused>) -> Self {
        Self { refused, ..Self::default() }
    }

    /// Counts the verdict of a row that was sent; `sent` has line, node and SKU of each.
    pub(super) fn count(&mut self, result: RowResult, sent: &[(u64, String, String)]) {
        let row = usize::try_from(result.row).ok().and_then(|row| sent.get(row));
        let (line, place) =
            row.map_or((0, None), |(line, node, sku)| (*line, Some((node.clone(), sku.clone()))));
        let verdict = result.verdict();
        let refused = Refused { line, reason: result.reason, message: result.message, place };
        match verdict {
            RowVerdict::Applied => self.applied += 1,
            RowVerdict::Duplicate => self.known += 1,
            RowVerdict::Stale => self.stale.push(refused),
            RowVerdict::Refused | RowVerdict::Unspecified => self.refused.push(refused),
        }
    }

    /// Rows that were not taken.
    pub(super) fn refused(&self) -> usize {
        self.refused.len() + self.stale.len()
    }

    /// Whether a refused row may name something at the node that would look absent.
    pub(super) fn doubts(&self, node: &str) -> bool {
        self.refused.iter().any(|row| row.place.as_ref().is_none_or(|(at, _)| at == node))
    }

    /// A line for each row that was not taken, in their order.
    pub(super) fn say_refused(&mut self) {
        self.refused.sort_by_key(|row| row.line);
        let mut all: Vec<&Refused> = self.refused.iter().chain(&self.stale).collect();
        all.sort_by_key(|row| row.line);
        for Refused { line, reason, message, .. } in all {
            say(&format!("line {line}: {reason} {message}"));
        }
    }

    /// The positions whose rows were refused: what is sold there now is an older figure.
    pub(super) async fn say_kept(&self, peer: &Peer) -> Result<()> {
        let mut client = InventoryServiceClient::new(peer.clone());
        let is_code = |node: &str, sku: &str| NodeId::new(node).is_ok() && Sku::new(sku).is_ok();
        let named: Vec<(u64, &String, &String)> = self
            .refused
            .iter()
            .filter_map(|row| row.place.as_ref().map(|(node, sku)| (row.line, node, sku)))
            .filter(|(_, node, sku)| is_code(node, sku))
            .collect();
        for chunk in named.chunks(PAIRS) {
            let pairs =
                chunk.iter().map(|(_, node, sku)| NodeSku { node_id: (*node).clone(), sku: (*sku).clone() });
            let request = BatchGetAvailabilityRequest { pairs: pairs.collect() };
            let answer = client.batch_get_availability(request).await;
            let answer = answer.map_err(|status| Exit::from_status(&status))?.into_inner();
            for ((line, ..), found) in chunk.iter().zip(&answer.availabilities) {
                say_one(*line, found);
            }
        }
        let nameless = self.refused.iter().filter(|row| row.place.is_none()).count();
        if nameless > 0 {
            say(&format!(
                "{nameless} refused rows name no position: what they stand for keeps its old figure"
            ));
        }
        Ok(())
    }

    /// The last line.
    pub(super) fn say_counts(&self) {
        let Self { applied, known, .. } = self;
        say(&format!("{applied} rows applied, {known} known already, {} refused", self.refused()));
    }
}

fn say_one(line: u64, found: &Availability) {
    let Some(position) = &found.position else { return };
    let since = crate::clients::instant(found.update_time.as_ref());
    let since = since.map_or_else(String::new, |at| format!(", last changed {at}"));
    say(&format!(
        "line {line}: old figure still on sale: {} {} has {} on hand, {} available{since}",
        found.node_id, found.sku, position.on_hand, found.atp
    ));
}
