//! Tokens that callers hand back, of pages and of streams: opaque, URL-safe, bound to what they were given for. One
//! that was changed, or comes from elsewhere, is refused. They hold nothing secret and carry no authority.

use sha2::{Digest as _, Sha256};

use crate::fault::Fault;

/// Bytes in front of the body that show a changed token.
const CHECK: usize = 8;
/// The longest token read.
const MAX_CHARS: usize = 1_024;

/// The token of a position within `context`: the query or stream that it belongs to.
pub fn seal(context: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> String {
    let body = body.as_ref();
    hex::encode([&check(context.as_ref(), body), body].concat())
}

/// The position of a token, if it was given for `context`.
pub fn open(context: impl AsRef<[u8]>, token: &str) -> Option<Vec<u8>> {
    if token.len() > MAX_CHARS {
        return None;
    }
    let bytes = hex::decode(token).ok()?;
    let (given, body) = bytes.split_first_chunk::<CHECK>()?;
    (*given == check(context.as_ref(), body)).then(|| body.to_vec())
}

/// What a `page_token` says: `None` for the first page.
pub fn page(context: impl AsRef<[u8]>, token: &str) -> Result<Option<Vec<u8>>, Fault> {
    if token.is_empty() {
        return Ok(None);
    }
    open(context, token).map(Some).ok_or_else(strange_page)
}

/// The refusal of a `page_token` of another query.
pub fn strange_page() -> Fault {
    Fault::field("page_token", "does not belong to this query")
}

fn check(context: &[u8], body: &[u8]) -> [u8; CHECK] {
    let size = (context.len() as u64).to_be_bytes();
    let digest = Sha256::new().chain_update(size).chain_update(context).chain_update(body).finalize();
    std::array::from_fn(|i| digest[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_belongs_to_its_query_and_can_not_be_changed() {
        for body in ["", "17", "é A", &"\u{10348}".repeat(100)] {
            let token = seal("movements", body);
            assert_eq!(open("movements", &token).as_deref(), Some(body.as_bytes()));
            assert_eq!(open("skus", &token), None);
            assert_eq!(open("movements", &token[2..]), None);
            assert_eq!(open("movements", &format!("{token}00")), None);
        }
        for strange in ["zz", "0", "é", "00", "+1+1+1+1+1+1+1+1", &"0".repeat(2_000)] {
            assert_eq!(open("skus", strange), None, "{strange}");
            assert!(page("skus", strange).is_err());
        }
        assert_eq!(page("skus", "").unwrap(), None);
    }
}
