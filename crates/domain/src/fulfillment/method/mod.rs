//! Methods: how goods reach the customer. A method is data, not a branch: what differs between methods is a field of
//! [`Rules`], and [`Method::rules`] is the only `match` on [`Method`] in the workspace.
//!
//! Adding a method: one new file with its `RULES`, one variant, one arm, one entry in [`NAMES`].

pub mod pickup;

use jiff::SignedDuration;

use crate::words;

/// How the goods of one fulfillment order reach the customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// The customer collects at a node.
    Pickup,
}

/// Every name of a method on the wire and in SQL. A name without a method is understood, and refused as not offered.
pub const NAMES: [(&str, Option<Method>); 5] = [
    ("PICKUP", Some(Method::Pickup)),
    ("EXPRESS", None),
    ("SCHEDULED", None),
    ("PARCEL", None),
    ("CARRY_OUT", None),
];

/// What stands for no method on the wire.
const UNSPECIFIED: &str = "UNSPECIFIED";

/// Why a name is not a usable method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MethodError {
    /// The name belongs to a method that this deployment does not offer.
    #[error("the method {} is not offered", words::plain(.0))]
    NotOffered(&'static str),
    /// No method was named.
    #[error("is required")]
    Absent,
    /// No method has this name.
    #[error("is not a known method")]
    Unknown,
}

impl Method {
    /// The methods that are offered.
    pub const ALL: [Self; 1] = [Self::Pickup];

    /// What the method prescribes.
    pub const fn rules(self) -> &'static Rules {
        match self {
            Self::Pickup => &pickup::RULES,
        }
    }

    /// The name on the wire and in SQL.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, method)| *method == Some(self)).map_or("", |(name, _)| name)
    }

    /// The method of this name, if it is offered.
    pub fn parse(name: &str) -> Option<Self> {
        Self::named(name).ok()
    }

    /// The method of this name, or why there is none.
    pub fn named(name: &str) -> Result<Self, MethodError> {
        if name == UNSPECIFIED {
            return Err(MethodError::Absent);
        }
        let (name, method) = NAMES.iter().find(|(known, _)| *known == name).ok_or(MethodError::Unknown)?;
        method.ok_or(MethodError::NotOffered(name))
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a method prescribes for its fulfillment orders.
#[derive(Debug)]
pub struct Rules {
    /// Which minutes the clock of an offer counts.
    pub accept_counts: Counts,
    /// A step is at risk when this share of its time is used, in percent.
    pub at_risk_percent: i64,
    /// What proves that the goods go to the right person.
    pub proof: Option<Proof>,
    /// How long each step may take, unless the settings say otherwise.
    pub clocks: Clocks,
    /// Which activity of the node the method takes capacity of.
    pub activity: Activity,
}

/// How long each step of a fulfillment order may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// The node accepts an offer within this time.
    pub accept: SignedDuration,
    /// Goods that are ready wait this long for the customer, opening time or not.
    pub keep: SignedDuration,
    /// The customer is reminded this long after the goods were ready, in rising order, each before `keep` is over.
    pub reminders: [Option<SignedDuration>; Self::MAX_REMINDERS],
    /// The node confirms that goods are back on the shelf within this time, opening time or not.
    pub put_back: SignedDuration,
    /// Activity that is not finished this long after the promised time ends by itself.
    pub resolve: SignedDuration,
}

impl Clocks {
    /// The most reminders.
    pub const MAX_REMINDERS: usize = 2;

    /// What is wrong with these clocks: the field, and what it must be.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        for (field, length) in [
            ("accept", self.accept),
            ("keep", self.keep),
            ("put_back", self.put_back),
            ("resolve", self.resolve),
        ] {
            if length < SignedDuration::from_secs(1) || length > SignedDuration::from_hours(24 * 90) {
                return Err((field, "must be from 1 s to 90 days"));
            }
        }
        let mut last = SignedDuration::ZERO;
        for reminder in self.reminders.into_iter().flatten() {
            if reminder <= last || reminder >= self.keep {
                return Err(("reminder", "must be after the one before it, and before the keep time ends"));
            }
            last = reminder;
        }
        Ok(())
    }
}

/// Which time a clock counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// Every minute.
    AllTime,
    /// Only the minutes in which the node is open.
    OpeningTime,
}

/// What proves a handover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The pickup code that the channel gave to the customer.
    PickupCode,
}

/// What takes capacity of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Activity {
    /// Pick an order and keep it for collection.
    Pick,
}

impl Activity {
    /// The name on the wire and in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pick => "PICK",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_reads_back_from_its_name() {
        for method in Method::ALL {
            assert_eq!(Method::parse(method.name()), Some(method));
        }
        assert_eq!(Method::named("EXPRESS"), Err(MethodError::NotOffered("EXPRESS")));
        assert_eq!(Method::named("pickup"), Err(MethodError::Unknown));
        assert_eq!(Method::named(""), Err(MethodError::Unknown));
        assert_eq!(Method::named("UNSPECIFIED").unwrap_err().to_string(), "is required");
        assert_eq!(
            Method::named("CARRY_OUT").unwrap_err().to_string(),
            "the method carry out is not offered"
        );
    }

    #[test]
    fn the_rules_of_every_method_make_sense() {
        for method in Method::ALL {
            let rules = method.rules();
            assert!((1..100).contains(&rules.at_risk_percent));
            assert_eq!(rules.clocks.check(), Ok(()));
        }
    }

    #[test]
    fn clocks_that_end_before_their_reminders_are_refused() {
        let clocks = Method::Pickup.rules().clocks;
        let short = Clocks { keep: SignedDuration::from_secs(5), ..clocks };
        assert_eq!(short.check().unwrap_err().0, "reminder");
        assert_eq!(Clocks { reminders: [None; 2], ..short }.check(), Ok(()));
        assert_eq!(Clocks { accept: SignedDuration::ZERO, ..clocks }.check().unwrap_err().0, "accept");
    }
}
