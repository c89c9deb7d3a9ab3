//! Whose work a caller may see and change.

use domain::id::NodeId;
use server::Principal;

/// A store sees and changes its own work only; to it, the work of another node does not exist.
pub(crate) fn may_work(principal: &Principal, node: &NodeId) -> bool {
    principal.kind != server::auth::kind::STORE || principal.id == node.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_sees_its_own_work_only() {
        let node = NodeId::new("N1").unwrap();
        assert!(may_work(&Principal::new("store", "N1"), &node));
        assert!(!may_work(&Principal::new("store", "N2"), &node));
        assert!(may_work(&Principal::new("ops", "N2"), &node));
    }
}
