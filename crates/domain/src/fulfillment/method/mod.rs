//! Methods: how goods reach the customer. A method is data, not a branch: its path, its clocks and what its steps ask for
//! are the [`Rules`] in its own file, and nothing outside this folder asks which method an order has.
//!
//! Adding a method: one new file with its `RULES`, and its two lines here.

pub mod clocks;
pub mod express;
pub mod parcel;
pub mod pickup;

use jiff::SignedDuration;

use super::buckets::Bucket;
use super::stage::{Clock, Name, Stage, Step, StockEffect};
use crate::words;
pub use clocks::{Clocks, Versions};

macro_rules! methods {
    ($($(#[$doc:meta])* $method:ident => $file:ident,)+) => {
        /// How the goods of one fulfillment order reach the customer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Method {
            $($(#[$doc])* $method,)+
        }

        impl Method {
            /// Every method that has rules, offered or not.
            pub const ALL: &[Self] = &[$(Self::$method,)+];

            /// What the method prescribes.
            pub const fn rules(self) -> &'static Rules {
                match self {
                    $(Self::$method => &$file::RULES,)+
                }
            }
        }
    };
}

methods! {
    /// The customer collects at a node.
    Pickup => pickup,
    /// A courier brings the goods within the hour.
    Express => express,
    /// A carrier brings a parcel.
    Parcel => parcel,
}

/// Names of methods that have no rules yet. They are understood, and refused as not offered.
const LATER: [&str; 2] = ["SCHEDULED", "CARRY_OUT"];

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
    /// The name on the wire and in SQL.
    pub const fn name(self) -> &'static str {
        self.rules().name
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
        match Self::ALL.iter().find(|method| method.name() == name) {
            Some(method) if method.rules().is_offered => Ok(*method),
            Some(method) => Err(MethodError::NotOffered(method.name())),
            None => {
                let later = LATER.into_iter().find(|later| *later == name);
                Err(later.map_or(MethodError::Unknown, MethodError::NotOffered))
            }
        }
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
    /// The name on the wire and in SQL.
    pub name: &'static str,
    /// Customers may be promised it; otherwise the API refuses it as not offered.
    pub is_offered: bool,
    /// The path of the units, from the offer to the customer.
    pub stages: &'static [Stage],
    /// How long each step may take, unless the settings or a policy say otherwise.
    pub clocks: Clocks,
    /// Which activity of the node the method takes capacity of.
    pub activity: Activity,
    /// The node is where the customer goes: one that the customer named changes only with consent.
    pub is_collected: bool,
    /// How much later than promised goods may be ready and still be in time.
    pub slack: SignedDuration,
    /// How long the customer may take to say what is done about pieces that a node could not do.
    pub answer: SignedDuration,
}

impl Rules {
    /// A stage of the path.
    pub fn stage(&self, name: Name) -> Option<&'static Stage> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// A stage that units may come to, after the one that they come from.
    pub fn step_to(&self, name: Name) -> Option<(&'static Stage, &'static Stage)> {
        let steps = self.stages.iter().zip(self.stages.iter().skip(1));
        steps.into_iter().find(|(_, to)| to.name == name)
    }

    /// The first stage in which the clock of a step runs, and that clock.
    pub fn clock_of(&self, step: Step) -> Option<(&'static Stage, Clock)> {
        let clocks = self.stages.iter().filter_map(|stage| Some((stage, stage.clock?)));
        clocks.into_iter().find(|(_, clock)| clock.step == step)
    }

    /// The buckets of the stages with an effect on the stock, in the order of the path.
    pub fn buckets(&self, effect: StockEffect) -> impl Iterator<Item = Bucket> + use<> {
        let stages = self.stages;
        let is_last = move |at: usize| stages.get(at + 1).is_none_or(|next| next.bucket != stages[at].bucket);
        let ours =
            stages.iter().enumerate().filter(move |(at, stage)| stage.stock_effect == effect && is_last(*at));
        ours.map(|(_, stage)| stage.bucket)
    }

    /// The open stage in which units of a bucket stand when the order has reached a stage.
    pub fn stands_in(&self, bucket: Bucket, reached: Name) -> Option<&'static Stage> {
        let open = self.stages.split_last().map_or(&[] as &[Stage], |(_, open)| open);
        open.iter().rfind(|stage| stage.bucket == bucket && stage.name <= reached)
    }
}

/// What takes capacity of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Activity {
    /// Pick an order and keep it for collection.
    Pick,
}

impl Activity {
    /// Every activity.
    pub const ALL: [Self; 1] = [Self::Pick];

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
    use crate::fulfillment::stage::{Due, Reporter, Span};

    #[test]
    fn every_method_reads_back_from_its_name() {
        for method in Method::ALL {
            let expected = method.rules().is_offered.then_some(*method);
            assert_eq!(Method::parse(method.name()), expected);
        }
        assert_eq!(Method::named("PICKUP"), Ok(Method::Pickup));
        assert_eq!(Method::named("EXPRESS"), Err(MethodError::NotOffered("EXPRESS")));
        assert_eq!(Method::named("PARCEL"), Err(MethodError::NotOffered("PARCEL")));
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
            assert_eq!(rules.clocks.check(), Ok(()));
        }
    }

    #[test]
    fn the_path_of_every_method_leads_from_the_offer_to_the_customer() {
        for method in Method::ALL {
            let rules = method.rules();
            let stages = rules.stages;
            assert_eq!((stages[0].name, stages[0].reporter), (Name::Offered, Reporter::Platform));
            assert!(
                stages.windows(2).all(|pair| pair[0].name < pair[1].name && pair[0].bucket <= pair[1].bucket)
            );
            assert!(
                stages.is_sorted_by_key(|stage| stage.stock_effect == StockEffect::Consumed),
                "goods leave once"
            );
            let (last, open) = stages.split_last().unwrap();
            assert_eq!((last.name, last.bucket, last.clock), (Name::Done, Bucket::Done, None));
            assert_eq!(
                last.stock_effect,
                StockEffect::Consumed,
                "{method}: the customer has what left the node"
            );
            for stage in open {
                let clock = stage.clock.unwrap_or_else(|| panic!("{method} waits for ever: {stage:?}"));
                assert_eq!(rules.clock_of(clock.step).unwrap().1, clock, "one clock for each step");
                let needs_transit = clock.due == Due::After(Span::Transit);
                assert!(!needs_transit || rules.clocks.transit.is_some(), "{method}: a length for {stage:?}");
                assert!(stage.partly.is_none_or(|state| state != stage.state));
            }
        }
    }
}
