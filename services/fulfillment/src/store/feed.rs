//! Which feeds a change of the nodes' work locks. The feeds themselves are kept by `crates/work_feed`.

use db::{Row, Tx, Type, params};
use domain::id::{FulfillmentId, NodeId};
use work_feed::{Feed, rows};

use crate::Error;

/// The kind of work that fulfillment orders are.
pub(crate) const KIND: &str = "fulfillment_order";

/// The nodes that work on these legs.
pub(crate) async fn nodes_of(tx: &mut Tx, legs: &[FulfillmentId]) -> Result<Vec<NodeId>, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT DISTINCT w.node_id FROM fulfillment_orders w JOIN {rows} ON w.fulfillment_id = r.id",
            &[("id", Type::Uuid)],
            legs.iter().map(|leg| params![leg.uuid()]).collect(),
        )
        .await?;
    rows.iter().map(node).collect()
}

/// Locks the feed of the node that works on a fulfillment order.
pub(crate) async fn lock_of(tx: &mut Tx, id: FulfillmentId) -> Result<Option<Feed>, Error> {
    let text = work_feed::feed_of!("SELECT w.node_id FROM fulfillment_orders w WHERE w.fulfillment_id = $1");
    Ok(rows::lock_by(tx, text, params![id.uuid()]).await?)
}

fn node(row: &Row) -> Result<NodeId, Error> {
    let node: String = row.get("node_id")?;
    NodeId::new(node).map_err(|_| Error::corrupt("a fulfillment order has a malformed node".to_owned()))
}
