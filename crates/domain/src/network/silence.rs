//! Silence: a node that lets one offer after another run out gets no promises for a while.

use jiff::{SignedDuration, Timestamp};

use crate::policy::Sourcing;

/// How silent a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Silence {
    /// Offers that ran out since it last answered.
    pub run_out: i64,
    /// It gets no promises until then.
    pub until: Option<Timestamp>,
}

/// How much silence is borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How many offers in a row must run out before a node counts as silent; 0: none is ever.
    pub offers: i64,
    /// For how long a node gets no promises then, unless it answers.
    pub length: SignedDuration,
}

impl Patience {
    /// The same where policies say some of it.
    #[must_use]
    pub fn with(self, said: &Sourcing) -> Self {
        Self {
            offers: said.silent_after.map_or(self.offers, |said| said.value.into()),
            length: said.silent_for.map_or(self.length, |said| said.value),
        }
    }
}

impl Silence {
    /// Another offer ran out. Once a silence has ended by itself, the next offer that runs out begins another one.
    #[must_use]
    pub fn ran_out(self, patience: Patience, now: Timestamp) -> Self {
        let run_out = self.run_out.saturating_add(1);
        let has_ended = self.until.is_some_and(|until| until <= now);
        let until = if self.is_silent(now) {
            self.until
        } else if patience.offers > 0 && (has_ended || run_out >= patience.offers) {
            Some(now.saturating_add(patience.length).unwrap_or(Timestamp::MAX))
        } else {
            None
        };
        Self { run_out, until }
    }

    /// It gets no promises now.
    pub fn is_silent(self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { offers: 3, length: SignedDuration::from_hours(4) };

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + hour * 3_600).unwrap()
    }

    #[test]
    fn the_third_offer_in_a_row_that_runs_out_silences_a_node_for_a_while() {
        let mut node = Silence::default();
        for run_out in 1..=2 {
            node = node.ran_out(PATIENCE, at(0));
            assert_eq!((node, node.is_silent(at(0))), (Silence { run_out, until: None }, false));
        }
        node = node.ran_out(PATIENCE, at(1));
        assert_eq!(node.until, Some(at(5)));
        assert!(node.is_silent(at(4)) && !node.is_silent(at(5)));
        node = node.ran_out(PATIENCE, at(2));
        assert_eq!(node, Silence { run_out: 4, until: Some(at(5)) }, "offers made before do not lengthen it");
        node = node.ran_out(PATIENCE, at(6));
        assert_eq!(node.until, Some(at(10)), "it was given another chance, and let that run out too");
    }

    #[test]
    fn policies_say_how_much_silence_is_borne_and_for_how_long_it_lasts() {
        use crate::policy::Field;
        let silent_after = Some(Field { value: 1, version: 4 });
        let said = Sourcing { silent_after, ..Sourcing::default() };
        let silent_for = Some(Field { value: SignedDuration::from_mins(30), version: 5 });
        assert_eq!(PATIENCE.with(&said), Patience { offers: 1, ..PATIENCE });
        assert_eq!(PATIENCE.with(&Sourcing { silent_for, ..said }).length, SignedDuration::from_mins(30));
        assert_eq!(PATIENCE.with(&Sourcing::default()), PATIENCE);
    }

    #[test]
    fn no_patience_is_set_and_none_is_lost() {
        let patience = Patience { offers: 0, ..PATIENCE };
        let node = (0..9).fold(Silence::default(), |node, hour| node.ran_out(patience, at(hour)));
        assert_eq!(node, Silence { run_out: 9, until: None });
    }
}
