//! How much a caller may hold: what the settings say, and policies over them.

use domain::policy::Asked;
use domain::promise::quota::Quota;
use jiff::Timestamp;
use server::auth::kind::CUSTOMER;

use crate::Fulfillment;

impl Fulfillment {
    /// The quota of a caller of this kind for a cart of this channel; none: it has no limit, and what it holds is not counted.
    /// Policies are about customers: what a channel may hold, the settings say.
    pub(super) fn quota(&self, kind: &str, channel: Option<&str>, now: Timestamp) -> Option<Quota> {
        let mut quota = self.config.limits.of(kind)?;
        if kind == CUSTOMER {
            let said = self.policies.book().limits(&Asked { channel, ..Asked::default() }, now);
            quota = quota.with(&said);
        }
        quota.limits().then_some(quota)
    }
}
