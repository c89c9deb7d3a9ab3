//! Tags: short words of the retailer by which groups of nodes choose their members.

use std::fmt;
use std::str::FromStr;

/// A word such as `mall` or `city-centre`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

/// A tag is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {} characters of a-z, 0-9, - and _", Tag::MAX_LENGTH)]
pub struct TagError;

impl Tag {
    /// Longest tag, in characters.
    pub const MAX_LENGTH: usize = 32;

    /// The tag of that text.
    pub fn new(text: &str) -> Result<Self, TagError> {
        let is_plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        let fits = (1..=Self::MAX_LENGTH).contains(&text.len());
        if fits && text.bytes().all(is_plain) { Ok(Self(text.to_owned())) } else { Err(TagError) }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        Self::new(text)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_short_plain_word() {
        for good in ["mall", "city-centre", "tier_2", "7", &"a".repeat(32)] {
            assert_eq!(Tag::new(good).unwrap().to_string(), good);
        }
        for bad in ["", "Mall", "new york", "caf\u{e9}", "a\0", "a.b", &"a".repeat(33)] {
            assert_eq!(Tag::new(bad), Err(TagError), "{bad:?}");
        }
    }
}
