//! What is parked, and when it is looked at again.

use std::time::Duration;

use jiff::Timestamp;

use super::{Runner, heal};
use crate::parked::{Parking, Reason};
use crate::{Delivered, HandleError, HandleErrorKind};

/// When an owner that could not be asked is asked again.
pub(super) const OWNER_AWAY: Duration = Duration::from_secs(2);

impl Runner {
    pub(super) fn gap<'a>(
        &self,
        event: &'a Delivered,
        applied: i64,
        unhealed: Option<&heal::Unhealed>,
    ) -> Parking<'a> {
        let why = unhealed.map_or("", |unhealed| unhealed.error.as_str());
        let may_heal = unhealed.is_some_and(|unhealed| unhealed.retry);
        let error = format!("versions {} to {} are missing: {why}", applied + 1, event.sequence - 1);
        tracing::error!(
            consumer = self.group(),
            aggregate = event.aggregate_id(),
            error,
            "an aggregate is parked"
        );
        let retry_at = may_heal.then(|| self.after(OWNER_AWAY));
        Parking { event, reason: Reason::Gap, error, attempts: 1, retry_at }
    }

    /// `attempts` are added to those that the parked row has; `passes` says how often it was parked by now.
    pub(super) fn poison<'a>(
        &self,
        event: &'a Delivered,
        error: &HandleError,
        attempts: i64,
        passes: i64,
    ) -> Parking<'a> {
        let text = error.source.to_string();
        tracing::error!(
            consumer = self.group(),
            aggregate = event.aggregate_id(),
            sequence = event.sequence,
            error = text,
            "an aggregate is parked"
        );
        let retry_at = (error.kind != HandleErrorKind::Poison).then(|| self.later(passes));
        Parking { event, reason: Reason::Handler, error: text, attempts, retry_at }
    }

    /// The delay after a number of failed passes: 2 seconds, then twice that, at most about 4 minutes.
    fn later(&self, passes: i64) -> Timestamp {
        let doublings = u32::try_from(passes.clamp(1, 8)).unwrap_or(8);
        self.after(Duration::from_secs(2_u64.pow(doublings)))
    }

    pub(super) fn after(&self, pause: Duration) -> Timestamp {
        self.clock.shared().checked_add(pause).unwrap_or(Timestamp::MAX)
    }
}
