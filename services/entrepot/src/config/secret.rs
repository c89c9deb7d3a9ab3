//! A setting that is never printed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Text that shows as `***`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for the one who needs it, not for logs.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What may be shown: of a url all but its password, of anything else nothing.
    pub fn shown(&self) -> String {
        if self.is_empty() { String::new() } else { shown(&self.0) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

fn shown(text: &str) -> String {
    let parts = || {
        let (scheme, rest) = text.split_once("://")?;
        // what follows a question mark may hold a password too
        let place = |text: &str| text.split_once('?').map_or(text, |(place, _)| place).to_owned();
        let Some((user, host)) = rest.rsplit_once('@') else {
            return Some(format!("{scheme}://{}", place(rest)));
        };
        if user.contains(['/', '?', '#']) {
            // a password that should have been written with %2F and the like, or one behind a question mark
            return None;
        }
        let user = user.split_once(':').map_or(user.to_owned(), |(name, _)| format!("{name}:***"));
        Some(format!("{scheme}://{user}@{}", place(host)))
    };
    parts().unwrap_or_else(|| "***".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_cut_out_of_a_url() {
        let cases = [
            ("postgres://shop:hunter2@db:5432/shop", "postgres://shop:***@db:5432/shop"),
            ("postgres://shop@db/shop", "postgres://shop@db/shop"),
            ("postgres://db/shop?user=a&password=hunter2", "postgres://db/shop"),
            ("postgres://a:p@ss@db/shop", "postgres://a:***@db/shop"),
            ("postgres://a:hunter2/x@db/shop", "***"),
            ("postgres://a:hunter2?x@db/shop", "***"),
            ("postgres://db/shop?password=hunter2@x", "***"),
            ("hunter2", "***"),
            ("", ""),
        ];
        for (secret, expected) in cases {
            assert_eq!(Secret::new(secret).shown(), expected);
            assert!(!format!("{:?}", Secret::new(secret)).contains("hunter2"));
        }
    }
}
