//! Where a stream goes on, and the token that says so to its reader.

use domain::id::NodeId;
use domain::time::{Timestamp, from_micros, micros};
use service::token::{open, seal};
use uuid::Uuid;

/// The longest name of a kind.
const MAX_KIND: usize = 32;

/// A place in a list of work: by time, then by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// What the list is ordered by, such as the promised time.
    pub at: Timestamp,
    /// The id of the work.
    pub id: Uuid,
}

impl Position {
    /// Before all work.
    pub const START: Self = Self { at: Timestamp::MIN, id: Uuid::nil() };

    /// For a token.
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        let (at, id) = bytes.split_at_mut(8);
        at.copy_from_slice(&micros(self.at).to_be_bytes());
        id.copy_from_slice(self.id.as_bytes());
        bytes
    }

    /// Of a token.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (at, id) = bytes.split_first_chunk::<8>()?;
        Some(Self { at: from_micros(i64::from_be_bytes(*at)), id: Uuid::from_slice(id).ok()? })
    }
}

/// Where a stream stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cursor {
    /// It lists open work, one kind after another; changes after `seq` follow.
    Listing {
        /// The last number of the feed when the list began.
        seq: i64,
        /// The kind that is listed.
        kind: String,
        /// The last work of that kind that was sent.
        after: Position,
    },
    /// Everything up to this number was sent.
    Live {
        /// The number.
        seq: i64,
    },
}

impl Cursor {
    /// The last number that the stream covers.
    pub fn seq(&self) -> i64 {
        match self {
            Self::Listing { seq, .. } | Self::Live { seq } => *seq,
        }
    }

    /// The token of the stream of `node`, with which it goes on from here.
    pub fn token(&self, node: &NodeId) -> String {
        let mut body = self.seq().to_be_bytes().to_vec();
        if let Self::Listing { kind, after, .. } = self {
            body.extend(after.to_bytes());
            body.extend(kind.as_bytes());
        }
        seal(context(node), body)
    }

    /// The cursor of a token, if it belongs to the stream of `node`.
    pub fn of_token(node: &NodeId, token: &str) -> Option<Self> {
        let body = open(context(node), token)?;
        let (seq, rest) = body.split_first_chunk::<8>()?;
        let seq = i64::from_be_bytes(*seq);
        if seq < 0 {
            return None;
        }
        if rest.is_empty() {
            return Some(Self::Live { seq });
        }
        let (after, kind) = rest.split_at_checked(24)?;
        let kind = String::from_utf8(kind.to_vec()).ok().filter(|kind| kind.len() <= MAX_KIND)?;
        Some(Self::Listing { seq, kind, after: Position::from_bytes(after)? })
    }
}

fn context(node: &NodeId) -> String {
    format!("watch {node}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resume_token_is_bound_to_its_node_and_cannot_be_changed() {
        let [n1, n2] = ["N1", "N2"].map(|node| NodeId::new(node).unwrap());
        let after = Position { at: Timestamp::from_second(7).unwrap(), id: Uuid::from_u128(9) };
        let listing = |after| Cursor::Listing { seq: 0, kind: "fulfillment_order".to_owned(), after };
        for cursor in [Cursor::Live { seq: 42 }, listing(after), listing(Position::START)] {
            let token = cursor.token(&n1);
            assert_eq!(Cursor::of_token(&n1, &token).as_ref(), Some(&cursor));
            assert_eq!(Cursor::of_token(&n2, &token), None);
            let changed = token.replacen(char::from(token.as_bytes()[20]), "x", 1);
            assert_eq!(Cursor::of_token(&n1, &changed), None);
        }
        for odd in ["", "zz", "0", "é", &"0".repeat(1_000), "+1+1+1+1+1+1+1+1"] {
            assert_eq!(Cursor::of_token(&n1, odd), None);
        }
    }
}
