//! Page tokens: opaque, URL-safe, bound to the query they came from. They carry no authority.

use domain::id::Uuid;
use domain::time::{from_micros, micros};
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::store::Position;

/// Where a token ends its own bytes: position, then what binds it.
const POSITION: usize = 24;
const CHECK: usize = 8;

/// The token for what comes after a position of a query.
pub(crate) fn token(position: Position, binding: &[u8]) -> String {
    let mut bytes = micros(position.placed_at).to_be_bytes().to_vec();
    bytes.extend(position.id.as_bytes());
    let check = check(&bytes, binding);
    bytes.extend(check);
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// The position behind a token, if it came from this query. An empty token is the first page.
pub(crate) fn position(token: &str, binding: &[u8]) -> Result<Option<Position>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let refused = || Error::field("page_token", "does not belong to this query");
    let bytes = unhex(token).ok_or_else(refused)?;
    let (body, found) = bytes.split_at_checked(POSITION).ok_or_else(refused)?;
    if found != check(body, binding) {
        return Err(refused());
    }
    let (at, id) = body.split_at_checked(8).ok_or_else(refused)?;
    let at = i64::from_be_bytes(at.try_into().map_err(|_| refused())?);
    let id = Uuid::from_slice(id).map_err(|_| refused())?;
    Ok(Some(Position { placed_at: from_micros(at), id }))
}

fn check(body: &[u8], binding: &[u8]) -> [u8; CHECK] {
    let digest =
        Sha256::new().chain_update(b"orders.page").chain_update(binding).chain_update(body).finalize();
    std::array::from_fn(|i| digest[i])
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 2 * (POSITION + CHECK) || !text.is_ascii() {
        return None;
    }
    let plain = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let bytes = (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok());
    if plain { bytes.collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_belongs_to_its_query() {
        let position = Position { placed_at: from_micros(1_322_728_000_123_456), id: Uuid::from_u128(7) };
        let token = token(position, b"a");
        assert_eq!(super::position(&token, b"a").unwrap(), Some(position));
        assert!(super::position(&token, b"b").is_err());
        assert!(super::position(&token.to_uppercase(), b"a").is_err());
        assert!(super::position(&token[1..], b"a").is_err());
        assert!(super::position("zz", b"a").is_err());
        assert_eq!(super::position("", b"a").unwrap(), None);
    }
}
