//! How long each step of a fulfillment order may take: numbers of the settings, or of the policies that are in force.

use jiff::SignedDuration;

use crate::fulfillment::stage::Span;
use crate::policy::{self, Field};

/// How long each step of a fulfillment order may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// The node accepts an offer within this time.
    pub accept: SignedDuration,
    /// Goods wait this long at the node for the customer or the courier, opening time or not.
    pub keep: SignedDuration,
    /// Goods that have left the node reach the customer within this time; `None`: no stage of the method needs it.
    pub transit: Option<SignedDuration>,
    /// The customer is reminded this long after the goods were ready, in rising order, each before `keep` is over.
    pub reminders: [Option<SignedDuration>; Self::MAX_REMINDERS],
    /// The node confirms that goods are back on the shelf within this time, opening time or not.
    pub put_back: SignedDuration,
    /// An end of the keep time or of the put-back that would come while the node is shut leaves this much opening time after it.
    pub min_open: SignedDuration,
    /// Work that is not finished this long after the promised time ends by itself.
    pub resolve: SignedDuration,
    /// A step is at risk when this share of its time is used, in percent.
    pub at_risk_percent: i64,
    /// The policies that say how long.
    pub versions: Versions,
}

/// The version of the policy that says how long a step may take, for each length that makes ends; 0: the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// Of `accept`.
    pub accept: i64,
    /// Of `keep`.
    pub keep: i64,
    /// Of `transit`.
    pub transit: i64,
    /// Of `put_back`.
    pub put_back: i64,
    /// Of `min_open`.
    pub min_open: i64,
    /// Of `resolve`.
    pub resolve: i64,
}

impl Versions {
    /// No policy says anything.
    pub const SETTINGS: Self = Self { accept: 0, keep: 0, transit: 0, put_back: 0, min_open: 0, resolve: 0 };
}

impl Clocks {
    /// The most reminders.
    pub const MAX_REMINDERS: usize = 2;

    /// The length of a span, and the version that says so.
    pub fn length(&self, span: Span) -> Field<SignedDuration> {
        let versions = &self.versions;
        let (value, version) = match (span, self.transit) {
            (Span::Accept, _) => (self.accept, versions.accept),
            (Span::Keep, _) => (self.keep, versions.keep),
            (Span::Transit, Some(transit)) => (transit, versions.transit),
            (Span::PutBack, _) => (self.put_back, versions.put_back),
            (Span::Resolve, _) | (Span::Transit, None) => (self.resolve, versions.resolve),
        };
        Field { value, version }
    }

    /// These clocks where no policy says anything, and what policies say elsewhere.
    #[must_use]
    pub fn with(self, policy: &policy::Clocks) -> Self {
        let said = |field: Option<Field<SignedDuration>>, settings| {
            field.unwrap_or_else(|| Field::of_settings(settings))
        };
        let (accept, keep) = (said(policy.accept, self.accept), said(policy.keep, self.keep));
        let (put_back, resolve) = (said(policy.put_back, self.put_back), said(policy.resolve, self.resolve));
        let min_open = said(policy.min_open, self.min_open);
        let reminder = |field: Option<Field<SignedDuration>>, settings: Option<SignedDuration>| {
            field.map_or(settings, |field| Some(field.value).filter(SignedDuration::is_positive))
        };
        let [first, second] = self.reminders;
        Self {
            accept: accept.value,
            keep: keep.value,
            transit: policy.transit.map(|field| field.value).or(self.transit),
            reminders: [reminder(policy.first_reminder, first), reminder(policy.second_reminder, second)],
            put_back: put_back.value,
            min_open: min_open.value,
            resolve: resolve.value,
            at_risk_percent: policy.at_risk_percent.map_or(self.at_risk_percent, |field| field.value.into()),
            versions: Versions {
                accept: accept.version,
                keep: keep.version,
                transit: policy.transit.map_or(0, |field| field.version),
                put_back: put_back.version,
                min_open: min_open.version,
                resolve: resolve.version,
            },
        }
    }

    /// What is wrong with these clocks: the field, and what it must be.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        for (field, length) in [
            ("accept", self.accept),
            ("keep", self.keep),
            ("transit", self.transit.unwrap_or(self.keep)),
            ("put_back", self.put_back),
            ("resolve", self.resolve),
        ] {
            if length < SignedDuration::from_secs(1) || length > SignedDuration::from_hours(24 * 90) {
                return Err((field, "must be from 1 s to 90 days"));
            }
        }
        if self.min_open.is_negative() || self.min_open > SignedDuration::from_hours(24 * 7) {
            return Err(("min_open", "must be from 0 s to 7 days"));
        }
        if !(1..=99).contains(&self.at_risk_percent) {
            return Err(("at_risk_percent", "must be from 1 to 99"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fulfillment::Method;

    #[test]
    fn clocks_that_end_before_their_reminders_are_refused() {
        let clocks = Method::Pickup.rules().clocks;
        let short = Clocks { keep: SignedDuration::from_secs(5), ..clocks };
        assert_eq!(short.check().unwrap_err().0, "reminder");
        assert_eq!(Clocks { reminders: [None; 2], ..short }.check(), Ok(()));
        assert_eq!(Clocks { accept: SignedDuration::ZERO, ..clocks }.check().unwrap_err().0, "accept");
        assert_eq!(Clocks { at_risk_percent: 100, ..clocks }.check().unwrap_err().0, "at_risk_percent");
        for (hours, is_refused) in [(-1, true), (0, false), (24 * 7, false), (24 * 7 + 1, true)] {
            let clocks = Clocks { min_open: SignedDuration::from_hours(hours), ..clocks };
            assert_eq!(clocks.check().is_err_and(|(field, _)| field == "min_open"), is_refused, "{hours} h");
        }
    }

    #[test]
    fn a_policy_changes_what_it_says_and_nothing_else() {
        let field = |minutes, version| Some(Field { value: SignedDuration::from_mins(minutes), version });
        let policy = policy::Clocks {
            accept: field(5, 7),
            first_reminder: field(0, 8),
            at_risk_percent: Some(Field { value: 50, version: 9 }),
            ..policy::Clocks::default()
        };
        let clocks = Method::Pickup.rules().clocks;
        let changed = clocks.with(&policy);
        let expected = Clocks {
            accept: SignedDuration::from_mins(5),
            reminders: [None, clocks.reminders[1]],
            at_risk_percent: 50,
            versions: Versions { accept: 7, ..Versions::SETTINGS },
            ..clocks
        };
        assert_eq!(changed, expected);
        assert_eq!(changed.length(Span::Accept).version, 7);
        assert_eq!(changed.length(Span::Keep), Field::of_settings(clocks.keep));
        assert_eq!(clocks.with(&policy::Clocks::default()), clocks);
    }
}
