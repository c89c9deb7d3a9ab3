//! Tokens that callers hand back: of pages and of streams. Each is bound to what it was given for; a mangled one, or
//! one from elsewhere, is refused. They hold nothing secret.

use domain::fulfillment::State;
use domain::id::NodeId;
use jiff::Timestamp;
use service::token::{open, seal};
use uuid::Uuid;

use crate::store::work::{Position, Stored};
use crate::work::command::Cursor;

/// The token from which a list goes on after this work.
pub(crate) fn page_token(node: &NodeId, states: &[State], after: &Stored) -> String {
    let mut body = after.order.promised.as_microsecond().to_be_bytes().to_vec();
    body.extend(after.order.id.uuid().as_bytes());
    seal(page_context(node, states), body)
}

/// What makes a list: its tokens belong to no other.
pub(crate) fn page_context(node: &NodeId, states: &[State]) -> String {
    let states: Vec<&str> = states.iter().map(|state| state.name()).collect();
    format!("list {} {node}", states.join(","))
}

/// The position of a token, if it is one of this list.
pub(crate) fn page_position(context: &str, token: &str) -> Option<Position> {
    position(&open(context, token)?)
}

fn position(body: &[u8]) -> Option<Position> {
    let (promised, id) = body.split_first_chunk::<8>()?;
    let promised = Timestamp::from_microsecond(i64::from_be_bytes(*promised)).ok()?;
    Some(Position { promised, id: Uuid::from_slice(id).ok()? })
}

/// The token from which the list of nodes goes on after this one.
pub(crate) fn nodes_token(after: &str) -> String {
    seal("nodes", after)
}

/// The node of a token, if it is one of the list of nodes.
pub(crate) fn nodes_after(token: &str) -> Option<String> {
    String::from_utf8(open("nodes", token)?).ok()
}

/// The token from which a stream goes on.
pub(crate) fn resume_token(node: &NodeId, cursor: Cursor) -> String {
    let (seq, after) = match cursor {
        Cursor::Listing { seq, after } => (seq, Some(after)),
        Cursor::Live { seq } => (seq, None),
    };
    let mut body = seq.to_be_bytes().to_vec();
    if let Some(after) = after {
        body.extend(after.promised.as_microsecond().to_be_bytes());
        body.extend(after.id.as_bytes());
    }
    seal(format!("watch {node}"), body)
}

/// The cursor of a token, if it is one of this node's stream.
pub(crate) fn cursor(node: &NodeId, token: &str) -> Option<Cursor> {
    let body = open(format!("watch {node}"), token)?;
    let (seq, rest) = body.split_first_chunk::<8>()?;
    let seq = i64::from_be_bytes(*seq);
    if seq < 0 {
        return None;
    }
    if rest.is_empty() {
        Some(Cursor::Live { seq })
    } else {
        Some(Cursor::Listing { seq, after: position(rest)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resume_token_is_bound_to_its_node_and_cannot_be_mangled() {
        let [n1, n2] = ["N1", "N2"].map(|node| NodeId::new(node).unwrap());
        let after = Position { promised: Timestamp::from_second(7).unwrap(), id: Uuid::from_u128(9) };
        for at in [Cursor::Live { seq: 42 }, Cursor::Listing { seq: 0, after }] {
            let token = resume_token(&n1, at);
            assert_eq!(cursor(&n1, &token), Some(at));
            assert_eq!(cursor(&n2, &token), None);
            let mangled = token.replacen(char::from(token.as_bytes()[20]), "x", 1);
            assert_eq!(cursor(&n1, &mangled), None);
        }
        for odd in ["", "zz", "0", "é", &"0".repeat(1_000), "+1+1+1+1+1+1+1+1"] {
            assert_eq!(cursor(&n1, odd), None);
        }
    }

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
        let body = [7_i64.to_be_bytes().to_vec(), Uuid::from_u128(9).as_bytes().to_vec()].concat();
        let token = seal(page_context(&node, &[State::Offered]), body);
        assert!(page_position(&page_context(&node, &[State::Offered]), &token).is_some());
        assert!(page_position(&page_context(&node, &[]), &token).is_none());
    }
}
