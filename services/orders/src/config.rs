//! The settings of orders.

use domain::order::Policy;
use serde::{Deserialize, Serialize};

/// The most lines that an order may have: messages and events are large enough for these.
pub const MOST_LINES: usize = 1_000;

/// The settings of orders, with their defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The most lines of one order, up to [`MOST_LINES`].
    pub max_lines: usize,
    /// How many orders may wait at once to be looked up or written; more are refused with `RESOURCE_EXHAUSTED`.
    pub max_waiting: usize,
    /// How long a prepaid order may be unpaid before its stock is released, in seconds, where no CLOCKS policy says
    /// something else.
    pub payment_s: u32,
    /// How much longer a payment still takes the stock again, in seconds, where no CLOCKS policy says something else.
    pub payment_grace_s: u32,
    /// How long stock is held for an order that needs no payment first, until it is confirmed, in seconds.
    pub hold_s: u32,
    /// How long before its end a hold is extended, in seconds.
    pub hold_margin_s: u32,
    /// After how long without work fulfillment is asked for the work of an order, in seconds.
    pub work_check_s: u32,
    /// After how long without news fulfillment is asked how the work of an order stands, in seconds.
    pub progress_check_s: u32,
    /// How long a customer is waited for who is asked what to do about pieces that a node could not do, in seconds, where no
    /// CLOCKS policy says something else; 0: as the method says.
    pub need_answer_s: u32,
    /// How long after a first try in vain such pieces are looked for again, in seconds; later ones wait longer.
    pub need_retry_s: u32,
    /// How many streams of `WatchOrder` may be open at once.
    pub max_watchers: usize,
    /// How long a watcher waits at most before it looks for changes made by other processes, in milliseconds.
    pub watch_poll_ms: u64,
    /// How often changes of policies are read, in milliseconds.
    pub policy_refresh_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_lines: MOST_LINES,
            max_waiting: 4_096,
            payment_s: 15 * 60,
            payment_grace_s: 5 * 60,
            hold_s: 15 * 60,
            hold_margin_s: 2 * 60,
            work_check_s: 5 * 60,
            progress_check_s: 6 * 3_600,
            need_answer_s: 0,
            need_retry_s: 5 * 60,
            max_watchers: 10_000,
            watch_poll_ms: 2_000,
            policy_refresh_ms: 500,
        }
    }
}

impl Config {
    /// The clocks of an order where no CLOCKS policy says anything.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            payment_ms: i64::from(self.payment_s) * 1_000,
            payment_version: 0,
            grace_ms: i64::from(self.payment_grace_s) * 1_000,
            hold_margin_ms: i64::from(self.hold_margin_s) * 1_000,
            work_check_ms: i64::from(self.work_check_s) * 1_000,
            progress_check_ms: i64::from(self.progress_check_s) * 1_000,
            need_retry_ms: i64::from(self.need_retry_s.max(1)) * 1_000,
            need_answer_ms: (self.need_answer_s > 0).then(|| i64::from(self.need_answer_s) * 1_000),
            need_answer_version: 0,
        }
    }

    /// How long stock is held, in milliseconds. An order that waits for its payment for so long keeps it until then, and some
    /// more; where a policy says a longer time than the settings, it is extended meanwhile.
    pub(crate) fn hold_ms(&self, payment_ms: Option<i64>) -> i64 {
        let margin = 2 * i64::from(self.hold_margin_s) * 1_000;
        let [most, other] = [self.payment_s, self.hold_s].map(|seconds| i64::from(seconds) * 1_000);
        payment_ms.map_or(other, |payment| payment.clamp(0, most)) + margin
    }
}
