//! Page tokens: opaque, and good for the query that they came from alone.

use crate::error::Error;

const DEFAULT: i64 = 100;
const MAX: i64 = 500;

/// How many entries a page has.
pub(crate) fn size(asked: i32) -> Result<i64, Error> {
    match i64::from(asked) {
        0 => Ok(DEFAULT),
        negative if negative < 0 => Err(Error::field("page_size", "must not be negative")),
        asked => Ok(asked.min(MAX)),
    }
}

/// A token that says: this query, after this entry.
pub(crate) fn token(query: &[&str], after: &str) -> String {
    let mut text = query.join("\n");
    text.push('\n');
    text.push_str(after);
    let sum = checksum(text.as_bytes());
    let bytes = sum.to_be_bytes().into_iter().chain(text.into_bytes());
    let mut token = String::new();
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            token.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    token
}

/// The entry after which the page begins; empty for the first page.
pub(crate) fn after(query: &[&str], token: &str) -> Result<String, Error> {
    if token.is_empty() {
        return Ok(String::new());
    }
    let strange = || Error::field("page_token", "is not one that this query gave");
    let text = decode(token).ok_or_else(strange)?;
    let (known, after) = text.rsplit_once('\n').ok_or_else(strange)?;
    if known == query.join("\n") { Ok(after.to_owned()) } else { Err(strange()) }
}

fn decode(token: &str) -> Option<String> {
    if !token.len().is_multiple_of(2) || token.len() > 2_048 || !token.is_ascii() {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Vec<u8> = token.as_bytes().chunks(2).map(byte).collect::<Option<_>>()?;
    let (sum, text) = bytes.split_first_chunk::<4>()?;
    let text = String::from_utf8(text.to_vec()).ok()?;
    (checksum(text.as_bytes()) == u32::from_be_bytes(*sum)).then_some(text)
}

/// FNV-1a: finds a token that was cut or mistyped. It keeps no secret, and there is none.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_own_query_alone() {
        let given = token(&["movements", "store-1", "A"], "17");
        assert_eq!(after(&["movements", "store-1", "A"], &given).unwrap(), "17");
        assert!(after(&["movements", "store-1", "B"], &given).is_err());
        assert_eq!(after(&["skus"], "").unwrap(), "");
    }

    #[test]
    fn a_token_that_was_changed_is_refused() {
        let given = token(&["skus"], "é A");
        assert_eq!(after(&["skus"], &given).unwrap(), "é A");
        for broken in [&given[2..], &given[..given.len() - 2], "zz", "a", "é", "00"] {
            assert!(after(&["skus"], broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_page_has_a_size_within_limits() {
        assert_eq!(size(0).unwrap(), 100);
        assert_eq!(size(9_999).unwrap(), 500);
        assert!(size(-1).is_err());
    }
}
