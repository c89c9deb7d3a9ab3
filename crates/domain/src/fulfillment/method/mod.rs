//! Methods: how goods reach the customer. A method is data, not a branch: what differs between methods is a field of
//! [`Rules`], and [`Method::rules`] is the only `match` on [`Method`] in the workspace.
//!
//! Adding a method: one new file with its `RULES`, one variant, one arm, one entry in [`NAMES`].

pub mod pickup;

use super::State;
use crate::words;

/// How the goods of one fulfilment order reach the customer.
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

/// Why a name is no method that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MethodError {
    /// The name belongs to a method that this deployment does not offer.
    #[error("the method {} is not offered", words::plain(.0))]
    NotOffered(&'static str),
    /// No method was named.
    #[error("is required")]
    Absent,
    /// Nobody knows the name.
    #[error("is no known method")]
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

/// What a method prescribes for its fulfilment orders.
#[derive(Debug)]
pub struct Rules {
    /// The stages that the goods pass, in order.
    pub path: &'static [Stage],
    /// How long the node may take to accept an offer.
    pub accept: Clock,
    /// A step is at risk when this share of its time is used, in percent.
    pub at_risk_percent: i64,
    /// What proves that the goods go to the right person, and at which stage.
    pub proof: Option<(Stage, Proof)>,
    /// How long goods that are ready are kept.
    pub keep: Keep,
    /// What happens to goods that the customer does not get.
    pub put_back: PutBack,
    /// Work that is not finished so many hours after the promised time ends by itself.
    pub resolve_hours: i64,
    /// Which work of the node the method takes from its capacity.
    pub work: Work,
}

impl Rules {
    /// Whether the goods pass this stage.
    pub fn passes(&self, stage: Stage) -> bool {
        self.path.contains(&stage)
    }
}

/// A step of the way from the shelf to the customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Taken from the shelf.
    Picking,
    /// Packed.
    Packing,
    /// Waiting for the customer at the node.
    Ready,
    /// Given to the customer at the node.
    HandedOver,
}

impl Stage {
    /// The state of a fulfilment order that stands at this stage.
    pub const fn state(self) -> State {
        match self {
            Self::Picking => State::Picking,
            Self::Packing => State::Packed,
            Self::Ready => State::ReadyForPickup,
            Self::HandedOver => State::Done,
        }
    }
}

/// Time that a step may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Minutes.
    pub minutes: i64,
    /// Which minutes count.
    pub counts: Counts,
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

/// How long goods that are ready wait for the customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Hours from the moment they were ready, opening time or not.
    pub hours: i64,
    /// The customer is reminded so many hours after that moment, in rising order, each before the end.
    pub reminders: &'static [i64],
}

/// How goods that the customer does not get return to the shelf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutBack {
    /// Hours that the node has to confirm it, opening time or not.
    pub hours: i64,
}

/// A kind of work that takes capacity of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    /// Pick an order and keep it for collection.
    Pick,
}

impl Work {
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
            assert!(!rules.path.is_empty());
            assert!(rules.accept.minutes > 0);
            assert!((1..100).contains(&rules.at_risk_percent));
            assert!(rules.keep.reminders.is_sorted());
            assert!(rules.keep.reminders.iter().all(|h| *h > 0 && *h < rules.keep.hours));
            assert!(rules.put_back.hours > 0 && rules.resolve_hours > 0);
            assert!(rules.proof.is_none_or(|(stage, _)| rules.passes(stage)));
        }
    }
}
