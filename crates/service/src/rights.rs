//! What a caller may touch beyond its role, in every service alike.

use domain::id::NodeId;
use server::Principal;
use server::auth::kind;

/// Whether a caller may act for a node: a store for its own only, others for every one.
pub fn speaks_for(who: &Principal, node: &NodeId) -> bool {
    who.kind != kind::STORE || who.id == node.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_speaks_for_its_own_node_only() {
        let node = NodeId::new("N1").unwrap();
        assert!(speaks_for(&Principal::new("store", "N1"), &node));
        assert!(!speaks_for(&Principal::new("store", "N2"), &node));
        assert!(speaks_for(&Principal::new("ops", "N2"), &node));
    }
}
