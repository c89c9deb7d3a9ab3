//! On what terms a channel hands an order over.

/// Why pieces that can't be had are dropped, where the channel names no reason of its own.
pub const NOT_AVAILABLE: &str = "NOT_AVAILABLE";

/// On what terms a channel hands an order over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Acceptance {
    /// It is refused when it can't be held.
    #[default]
    Checked,
    /// Its customer bought it elsewhere already: what can't be held is looked for, in parts too, and dropped if it is not
    /// found.
    SoldElsewhere {
        /// Why pieces that are not found are dropped, as the channel calls it.
        cancel_code: String,
    },
}

impl Acceptance {
    /// Sold elsewhere; without a code of the channel [`NOT_AVAILABLE`] is its reason.
    pub fn sold_elsewhere(cancel_code: &str) -> Self {
        let code = if cancel_code.is_empty() { NOT_AVAILABLE } else { cancel_code };
        Self::SoldElsewhere { cancel_code: code.to_owned() }
    }

    /// The name in storage and on the wire.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Checked => "CHECKED",
            Self::SoldElsewhere { .. } => "SOLD_ELSEWHERE",
        }
    }

    /// The terms of this name.
    pub fn parse(name: &str, cancel_code: &str) -> Option<Self> {
        let known = [Self::Checked, Self::sold_elsewhere(cancel_code)];
        known.into_iter().find(|terms| terms.name() == name)
    }

    /// It was sold elsewhere.
    pub const fn is_sold_elsewhere(&self) -> bool {
        matches!(self, Self::SoldElsewhere { .. })
    }

    /// Why pieces that are not found are dropped; none: for the reason that they are missing for.
    pub fn cancel_code(&self) -> Option<&str> {
        match self {
            Self::Checked => None,
            Self::SoldElsewhere { cancel_code } => Some(cancel_code),
        }
    }
}
