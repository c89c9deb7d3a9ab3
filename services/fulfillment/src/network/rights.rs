//! Who may change a node.

use domain::id::NodeId;
use server::Principal;
use server::auth::kind;
use tonic::Status;

/// Whether this caller may change the node: a store only itself.
pub(crate) fn own_node(who: &Principal, node: &NodeId) -> Result<(), Status> {
    if who.kind == kind::STORE && who.id != node.as_str() {
        let message = format!("{} may not change {node}", who.as_str());
        let facts = [("node_id".to_owned(), node.to_string())];
        return Err(server::status(
            crate::error::reason::NOT_YOUR_NODE,
            crate::error::DOMAIN,
            message,
            facts,
        ));
    }
    Ok(())
}
