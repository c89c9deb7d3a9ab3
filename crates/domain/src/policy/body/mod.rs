//! What a version says, by kind. Each field is optional: one that is absent comes from the version with the next lower
//! rank, and at last from the settings.

use jiff::SignedDuration;

use super::scope::{Dimension, Scope};
use super::{Fault, Kind};

/// A body whose fields each have one value, with the answer that is merged from several: each field with the version that
/// said it.
macro_rules! body {
    (
        $(#[$body_doc:meta])* $body:ident, $(#[$answer_doc:meta])* $answer:ident {
            $($(#[$doc:meta])* $field:ident: $type:ty,)+
        }
    ) => {
        $(#[$body_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $body {
            $($(#[$doc])* pub $field: Option<$type>,)+
        }

        $(#[$answer_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $answer {
            $($(#[$doc])* pub $field: Option<$crate::policy::Field<$type>>,)+
        }

        impl $body {
            /// The names of its fields.
            pub const FIELDS: &[&str] = &[$(stringify!($field),)+];

            /// Whether it says something about each field.
            pub(in crate::policy) const fn says(&self) -> [bool; Self::FIELDS.len()] {
                [$(self.$field.is_some(),)+]
            }
        }

        impl $answer {
            /// Takes what a body of lower or equal rank says about the fields that are still open. Answers whether none is.
            pub(in crate::policy) fn fill(&mut self, body: &$body, version: i64) -> bool {
                let mut is_full = true;
                $(
                    if self.$field.is_none() {
                        self.$field = body.$field.map(|value| $crate::policy::Field { value, version });
                        is_full &= self.$field.is_some();
                    }
                )+
                is_full
            }

            /// What it says, without the versions.
            pub fn body(&self) -> $body {
                $body { $($field: self.$field.map(|field| field.value),)+ }
            }
        }
    };
}

pub mod clocks;
pub mod limits;
pub mod pools;
pub mod safety_stock;
pub mod scenario;
pub mod sourcing;

/// What a version says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// How long each waiting state lasts.
    Clocks(clocks::ClocksBody),
    /// How nodes are chosen.
    Sourcing(sourcing::SourcingBody),
    /// Units that are kept back.
    SafetyStock(safety_stock::SafetyStockBody),
    /// Units that only one channel may claim.
    Pools(pools::PoolsBody),
    /// How much one caller may hold.
    Limits(limits::LimitsBody),
    /// What is promised while something unusual goes on.
    Scenario(scenario::ScenarioBody),
}

impl Body {
    /// What it is about.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Clocks(_) => Kind::Clocks,
            Self::Sourcing(_) => Kind::Sourcing,
            Self::SafetyStock(_) => Kind::SafetyStock,
            Self::Pools(_) => Kind::Pools,
            Self::Limits(_) => Kind::Limits,
            Self::Scenario(_) => Kind::Scenario,
        }
    }

    /// The name of its field in a version.
    pub const fn field(&self) -> &'static str {
        match self.kind() {
            Kind::Clocks => "clocks",
            Kind::Sourcing => "sourcing",
            Kind::SafetyStock => "safety_stock",
            Kind::Pools => "pools",
            Kind::Limits => "limits",
            Kind::Scenario => "scenario",
        }
    }

    /// The fields that it says something about. A pool counts as a field of its own: `pools[web]`.
    pub fn fields(&self) -> Vec<String> {
        let named = |names: &[&str], says: &[bool]| -> Vec<String> {
            names.iter().zip(says).filter(|(_, says)| **says).map(|(name, _)| (*name).to_owned()).collect()
        };
        match self {
            Self::Clocks(body) => named(clocks::ClocksBody::FIELDS, &body.says()),
            Self::Sourcing(body) => named(sourcing::SourcingBody::FIELDS, &body.says()),
            Self::SafetyStock(body) => named(safety_stock::SafetyStockBody::FIELDS, &body.says()),
            Self::Limits(body) => named(limits::LimitsBody::FIELDS, &body.says()),
            Self::Scenario(body) => named(scenario::ScenarioBody::FIELDS, &body.says()),
            Self::Pools(body) => body.pools.iter().map(pools::Pool::field).collect(),
        }
    }

    /// All that is wrong with it in a version with this scope; empty: nothing.
    pub fn check(&self, scope: &Scope) -> Vec<Fault> {
        let mut check = Check { body: self.field(), faults: Vec::new() };
        if self.fields().is_empty() {
            check.faults.push(Fault::new(self.field(), "must say something about at least one field"));
        }
        match self {
            Self::Clocks(body) => body.check(scope, &mut check),
            Self::Sourcing(body) => body.check(scope, &mut check),
            Self::SafetyStock(body) => body.check(&mut check),
            Self::Pools(body) => body.check(&mut check),
            Self::Limits(body) => body.check(&mut check),
            Self::Scenario(body) => body.check(&mut check),
        }
        check.faults
    }
}

/// Collects what is wrong with a body.
pub(in crate::policy) struct Check {
    body: &'static str,
    faults: Vec<Fault>,
}

impl Check {
    /// Something is wrong with a field.
    fn fault(&mut self, field: &str, must: impl Into<String>) {
        self.faults.push(Fault::new(format!("{}.{field}", self.body), must));
    }

    /// A number lies in its range, ends included.
    fn number<N: Into<i64> + Copy>(&mut self, field: &str, number: Option<N>, least: i64, most: i64) {
        if number.is_some_and(|number| !(least..=most).contains(&number.into())) {
            self.fault(field, format!("must be from {least} to {most}"));
        }
    }

    /// A length of time lies in its range, ends included.
    fn length(
        &mut self,
        field: &str,
        length: Option<SignedDuration>,
        least: SignedDuration,
        most: SignedDuration,
    ) {
        if length.is_some_and(|length| !(least..=most).contains(&length)) {
            self.fault(field, format!("must be from {} to {}", in_words(least), in_words(most)));
        }
    }

    /// A field is absent because the scope names something that the field does not know.
    fn unknown_to_scope(&mut self, field: &str, is_said: bool, scope: &Scope, dimensions: &[Dimension]) {
        if let Some(named) = dimensions.iter().find(|dimension| scope.names(**dimension)).filter(|_| is_said)
        {
            self.fault(field, format!("must be absent: it is asked without scope.{}", named.name()));
        }
    }
}

/// A length of time in its largest whole unit: "7 days", "1 h".
fn in_words(length: SignedDuration) -> String {
    let seconds = length.as_secs();
    match (seconds, seconds % 86_400, seconds % 3_600, seconds % 60) {
        (0, ..) => "0".to_owned(),
        (_, 0, ..) if seconds > 86_400 => format!("{} days", seconds / 86_400),
        (_, _, 0, _) => format!("{} h", seconds / 3_600),
        (_, _, _, 0) => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

/// A number of minutes.
const fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_secs(minutes * 60)
}

/// A number of hours.
const fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_secs(hours * 3_600)
}

/// A number of days of 24 hours.
const fn days(days: i64) -> SignedDuration {
    hours(days * 24)
}
