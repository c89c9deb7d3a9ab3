//! Tokens of pages, which callers hand back. Each is bound to its query; a changed one, or one of another query, is refused.
//! They hold nothing secret. Those of a node's stream are made by `crates/work_feed`.

use domain::fulfillment::State;
use domain::id::{NodeId, OrderId};
use service::token::{open, seal};
use work_feed::Position;

use crate::store::work::Stored;

/// The token from which a list goes on after this work.
pub(crate) fn page_token(node: &NodeId, states: &[State], after: &Stored) -> String {
    let after = Position { at: after.order.promised, id: after.order.id.uuid() };
    seal(page_context(node, states), after.to_bytes())
}

/// What makes a list: its tokens belong to no other.
pub(crate) fn page_context(node: &NodeId, states: &[State]) -> String {
    let states: Vec<&str> = states.iter().map(|state| state.name()).collect();
    format!("list {} {node}", states.join(","))
}

/// The token from which the list of an order's work goes on after this one.
pub(crate) fn order_token(order: OrderId, after: Position) -> String {
    seal(order_context(order), after.to_bytes())
}

/// What makes the list of an order's work.
pub(crate) fn order_context(order: OrderId) -> String {
    format!("of {order}")
}

/// The position of a token, if it is one of this list.
pub(crate) fn page_position(context: &str, token: &str) -> Option<Position> {
    Position::from_bytes(&open(context, token)?)
}

/// The token from which the list of nodes goes on after this one.
pub(crate) fn nodes_token(after: &str) -> String {
    seal("nodes", after)
}

/// The node of a token, if it is one of the list of nodes.
pub(crate) fn nodes_after(token: &str) -> Option<String> {
    String::from_utf8(open("nodes", token)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_nodes_takes_the_longest_code_and_cannot_be_mangled() {
        for code in ["N1".to_owned(), "\u{10348}".repeat(64)] {
            let token = nodes_token(&code);
            assert_eq!(nodes_after(&token), Some(code));
            assert_eq!(nodes_after(&token[..token.len() - 2]), None);
        }
        assert_eq!(nodes_after("N1"), None);
    }

    #[test]
    fn a_page_token_belongs_to_one_list() {
        let node = NodeId::new("N1").unwrap();
        let token = seal(page_context(&node, &[State::Offered]), Position::START.to_bytes());
        assert!(page_position(&page_context(&node, &[State::Offered]), &token).is_some());
        assert!(page_position(&page_context(&node, &[]), &token).is_none());
    }
}
