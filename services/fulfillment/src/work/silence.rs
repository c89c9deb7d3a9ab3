//! Nodes that let offers run out one after another get no promises until they answer, or for a while.
//!
//! Whatever a node does is an answer. It costs a statement only where this process knows of an offer that ran out.

use db::Tx;
use domain::id::NodeId;
use domain::network::silence::{Patience, Silence};
use domain::policy::Asked;
use jiff::Timestamp;

use crate::store::silence as store;
use crate::store::work::Stored as Work;
use crate::{Error, Fulfillment};

impl Fulfillment {
    /// An offer of a node ran out. The caller notes the answer once it has committed.
    pub(super) async fn offer_ran_out(
        &self,
        tx: &mut Tx,
        work: &Work,
        now: Timestamp,
    ) -> Result<Silence, Error> {
        let node = &work.order.node;
        let before = store::lock(tx, node).await?;
        let silence = before.ran_out(self.patience(work, now), now);
        store::put(tx, node, silence, now).await?;
        if silence.is_silent(now) && !before.is_silent(now) {
            tracing::warn!(node_id = %node, run_out = silence.run_out, until = ?silence.until,
                "a node let offers run out and gets no promises until it answers");
        }
        Ok(silence)
    }

    /// How much silence of a node is borne, by the channel and method of the offer that ran out.
    fn patience(&self, work: &Work, now: Timestamp) -> Patience {
        let (node, channel) = (Some(&work.order.node), Some(work.channel.as_str()));
        let asked = Asked { node, channel, method: Some(work.order.method), ..Asked::default() };
        self.config.work.patience().with(&self.policies.book().sourcing(&asked, now))
    }

    /// A node has answered. The caller notes that once it has committed ([`Self::note_answer`]).
    pub(crate) async fn answered(&self, tx: &mut Tx, node: &NodeId, now: Timestamp) -> Result<(), Error> {
        if self.network.silence.is_lively(node) { Ok(()) } else { store::end(tx, node, now).await }
    }

    /// The same after the commit: the node gets promises again.
    pub(crate) fn note_answer(&self, node: &NodeId) {
        if !self.network.silence.is_lively(node) {
            self.note_silence(node, Silence::default());
        }
    }

    /// Promises go by it from now on in this process; others learn of it from the database.
    pub(crate) fn note_silence(&self, node: &NodeId, silence: Silence) {
        self.network.silence.note([(node.clone(), silence)]);
        self.show_silence();
    }

    /// How many nodes get no promises now.
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    pub(crate) fn show_silence(&self) {
        let silent = self.network.silence.count(self.clock.business());
        metrics::gauge!("entrepot_nodes_silent").set(silent as f64);
    }
}
