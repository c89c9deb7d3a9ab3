//! Who and which: typed ids, and the codes that the retailer gives to nodes and goods.
//!
//! An id is a UUID inside and carries a prefix at the edge (`ord_0190...`), so that an order id can't be taken for a
//! promise token. Callers pass new ids in (`Clock::new_id`); no id is drawn here. Parsing is strict: one spelling per
//! id, so equal ids are equal texts.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

pub use uuid::Uuid;

/// The number of a line in its order, from 1.
pub type LineNo = u32;

/// Why a text is not an id or code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is not `<prefix><lower-case hyphenated UUID>`.
    #[error("must be {prefix}<uuid>, lower case with hyphens")]
    Malformed {
        /// The prefix that belongs to this kind of id.
        prefix: &'static str,
    },
    /// Nothing was given.
    #[error("must not be empty")]
    Empty,
    /// More characters than allowed.
    #[error("must have at most {max} characters")]
    TooLong {
        /// The most characters allowed.
        max: usize,
    },
    /// A control, zero-width or text-direction character.
    #[error(
        "must not hold control, zero-width or text-direction characters (found U+{code:04X} at {position})"
    )]
    Invisible {
        /// The code point found.
        code: u32,
        /// Its place, counted in characters from 0.
        position: usize,
    },
    /// White space at an end.
    #[error("must not begin or end with white space")]
    Padded,
}

/// The id that a name always has within a namespace (UUID version 5): for ids that must come out equal when work is
/// done twice.
pub fn derived(namespace: &str, name: &str) -> Uuid {
    let space = Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("https://entrepot/{namespace}").as_bytes());
    Uuid::new_v5(&space, name.as_bytes())
}

/// Checks a short text from outside: 1 to `max` characters, nothing invisible in it, no white space at its ends.
pub fn check_text(text: &str, max: usize) -> Result<(), IdError> {
    check_with(text, max, |text| text.chars().enumerate().find(|(_, c)| is_invisible(*c)))
}

/// The same with another rule of what is hidden in a text, and where.
pub(crate) fn check_with(
    text: &str,
    max: usize,
    hidden: impl Fn(&str) -> Option<(usize, char)>,
) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    // A char has at most four bytes, so a huge text is refused without being walked.
    if text.len() > max.saturating_mul(4) || text.chars().count() > max {
        return Err(IdError::TooLong { max });
    }
    if let Some((position, found)) = hidden(text) {
        return Err(IdError::Invisible { code: u32::from(found), position });
    }
    if text.trim() == text { Ok(()) } else { Err(IdError::Padded) }
}

/// Control characters, and those that change how a text is read without being seen.
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            0x00AD | 0x034F | 0x061C | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F
            | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFEFF | 0xFFA0
            | 0xFFF9..=0xFFFB | 0xE0000..=0xE007F)
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// What precedes the UUID at the edge.
            pub const PREFIX: &'static str = $prefix;

            /// The id with this UUID.
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID, as it is stored.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                strict($prefix, text).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }
    };
}

fn strict(prefix: &'static str, text: &str) -> Result<Uuid, IdError> {
    let malformed = IdError::Malformed { prefix };
    let Some(rest) = text.strip_prefix(prefix) else { return Err(malformed) };
    let lower = rest.len() == 36 && rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    match Uuid::try_parse(rest) {
        Ok(uuid) if lower => Ok(uuid),
        Ok(_) | Err(_) => Err(malformed),
    }
}

/// Reads a request id: a UUID in its plain hyphenated form, any case.
pub fn request_id(text: &str) -> Result<Uuid, IdError> {
    let malformed = IdError::Malformed { prefix: "" };
    if text.len() != 36 {
        return Err(malformed);
    }
    match Uuid::try_parse(text) {
        Ok(uuid) if !uuid.is_nil() => Ok(uuid),
        Ok(_) | Err(_) => Err(malformed),
    }
}

typed_id!(
    /// An order.
    OrderId,
    "ord_"
);
typed_id!(
    /// A claim on stock; its UUID is that of the leg that it is for.
    ReservationId,
    "rsv_"
);
typed_id!(
    /// A promise: stock and capacity held together under one time to live.
    PromiseToken,
    "prm_"
);
typed_id!(
    /// A leg: one node, method and window of a promise, and the work that comes of it.
    FulfillmentId,
    "ful_"
);
typed_id!(
    /// A stored sourcing decision.
    DecisionId,
    "src_"
);
typed_id!(
    /// An entry of the stock ledger.
    MovementId,
    "mov_"
);
typed_id!(
    /// A refund that was asked for.
    RefundId,
    "rfd_"
);
typed_id!(
    /// Pieces of an order that a node could not do.
    NeedId,
    "ned_"
);
typed_id!(
    /// One way out of a need that the customer may choose.
    OptionId,
    "opt_"
);

impl FulfillmentId {
    /// The fulfillment order of an order that came with a leg of another order: nothing was ever held under it.
    #[must_use]
    pub fn without_claim(self, order: OrderId) -> Self {
        Self(derived("fulfillment.unclaimed", &format!("{self}|{order}")))
    }
}

macro_rules! code {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The most characters of such a code.
            pub const MAX_CHARS: usize = 64;

            /// The code, if the text is well formed. Case counts; nothing is changed.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                check_text(&text, Self::MAX_CHARS)?;
                Ok(Self(text))
            }

            /// The code as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The code as an owned text.
            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<$name> for String {
            fn from(code: $name) -> String {
                code.0
            }
        }
    };
}

code!(
    /// The retailer's code of a node: a place that holds stock or hands goods over. Ordered by bytes.
    NodeId
);
code!(
    /// The retailer's code of one sellable item. Case sensitive, ordered by bytes.
    Sku
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_its_own_text() {
        let id = OrderId::new(derived("test", "a"));
        assert_eq!(id.to_string().parse::<OrderId>().unwrap(), id);
        assert_eq!(id.to_string().len(), 40);
    }

    #[test]
    fn an_id_has_one_spelling() {
        let id = OrderId::new(derived("test", "a"));
        let text = id.to_string();
        assert!(text.to_uppercase().parse::<OrderId>().is_err());
        assert!(text.replace('-', "").parse::<OrderId>().is_err());
        assert!(text[4..].parse::<OrderId>().is_err());
        assert!(text.parse::<PromiseToken>().is_err());
        assert!(format!("{text} ").parse::<OrderId>().is_err());
        assert!("ord_".parse::<OrderId>().is_err());
    }

    #[test]
    fn derived_ids_depend_on_namespace_and_name_only() {
        assert_eq!(derived("a", "x"), derived("a", "x"));
        assert_ne!(derived("a", "x"), derived("b", "x"));
        assert_ne!(derived("a", "x"), derived("a", "y"));
    }

    #[test]
    fn a_code_holds_nothing_invisible() {
        for text in ["", " a", "a ", "a\0b", "a\u{200B}", "\u{202E}abc", "\u{FEFF}a", "a\nb"] {
            assert!(Sku::new(text).is_err(), "{text:?}");
        }
        assert!(Sku::new("x".repeat(65)).is_err());
        assert!(Sku::new("é".repeat(64)).is_ok());
        assert_ne!(Sku::new("85123A").unwrap(), Sku::new("85123a").unwrap());
        assert!(NodeId::new("上海 01").is_ok());
    }
}
