//! The settings of this service.

use domain::fulfillment::method::Versions;
use domain::fulfillment::{Clocks, Method};
use domain::network::silence::Patience;
use domain::policy::Field;
use domain::promise::Policy;
use domain::promise::quota::Quota;
use domain::promise::token::Life;
use domain::sourcing::cost::Weights;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use server::auth::kind::{CHANNEL, CUSTOMER};

/// The settings of fulfillment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How far ahead work may be promised to begin, in hours.
    pub promise_horizon_hours: i64,
    /// How long a promise is held when the caller does not say, in seconds.
    pub hold_default_s: i64,
    /// The longest life in all of a promise that a shopper's caller holds, in seconds.
    pub hold_most_s: i64,
    /// The longest that a service may hold or extend a promise from now, in seconds; with `stock_margin_s` at most 7 days.
    pub hold_service_most_s: i64,
    /// How much longer the stock of a promise that an order may be on its way with is held than the promise, in seconds.
    pub stock_margin_s: i64,
    /// The most holds that wait at once; more are refused.
    pub hold_queue: usize,
    /// The most holds written in one transaction.
    pub hold_batch: usize,
    /// How often what other processes changed is read, in milliseconds.
    pub refresh_ms: u64,
    /// How often policies that other processes changed are read, in milliseconds.
    pub policy_refresh_ms: u64,
    /// How often the view of the stock is rebuilt, in seconds.
    pub stock_view_rebuild_s: u64,
    /// How long promises that ended without an order, and slots that are over, are kept, in days.
    pub keep_ended_days: i64,
    /// The weights of sourcing.
    pub sourcing: SourcingConfig,
    /// The settings of the stores' work.
    pub work: WorkConfig,
    /// How long the steps of fulfillment orders may take.
    pub clocks: ClocksConfig,
    /// The most that one caller may hold at once.
    pub limits: LimitsConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            promise_horizon_hours: 7 * 24,
            hold_default_s: 15 * 60,
            hold_most_s: 60 * 60,
            hold_service_most_s: 6 * 24 * 3_600,
            stock_margin_s: 60,
            hold_queue: 4_096,
            hold_batch: 128,
            refresh_ms: 1_000,
            policy_refresh_ms: 500,
            stock_view_rebuild_s: 900,
            keep_ended_days: 7,
            sourcing: SourcingConfig::default(),
            work: WorkConfig::default(),
            clocks: ClocksConfig::default(),
            limits: LimitsConfig::default(),
        }
    }
}

impl Config {
    /// The rules of promises.
    pub(crate) fn policy(&self) -> Policy {
        let clocks = self.clocks.clocks();
        Policy { horizon_hours: self.promise_horizon_hours, keep: clocks.keep, min_open: clocks.min_open }
    }

    /// How long promises live.
    pub(crate) fn life(&self) -> Life {
        Life {
            default: SignedDuration::from_secs(self.hold_default_s),
            most: SignedDuration::from_secs(self.hold_most_s),
            most_for_services: SignedDuration::from_secs(self.hold_service_most_s),
        }
    }

    /// How much longer the stock is held than the promise.
    pub(crate) fn stock_margin(&self) -> SignedDuration {
        SignedDuration::from_secs(self.stock_margin_s)
    }
}

/// The most that one caller may hold at once, in promise tokens and in orders that wait for their payment, where no LIMITS policy
/// says something else of customers; 0: no limit. Stores, operators and services have none. What a channel holds counts for the
/// channel, not for its customers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Tokens of a customer.
    pub customer_tokens: i64,
    /// Pieces in all tokens of a customer.
    pub customer_units: i64,
    /// Pieces of one SKU in all tokens of a customer.
    pub customer_units_per_sku: i64,
    /// Orders of a customer that are paid at the handover or by invoice, until they are paid or over; its tokens count with
    /// them, since each may become one.
    pub customer_unpaid_orders: i64,
    /// Tokens of a channel.
    pub channel_tokens: i64,
    /// Pieces in all tokens of a channel.
    pub channel_units: i64,
    /// Pieces of one SKU in all tokens of a channel.
    pub channel_units_per_sku: i64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            customer_tokens: 20,
            customer_units: 1_000,
            customer_units_per_sku: 100,
            customer_unpaid_orders: 20,
            channel_tokens: 0,
            channel_units: 0,
            channel_units_per_sku: 0,
        }
    }
}

impl LimitsConfig {
    /// The quota of a caller of this kind; none: it never has one.
    pub(crate) fn of(&self, kind: &str) -> Option<Quota> {
        let limit = |most: i64| (most > 0).then_some(Field::of_settings(most));
        match kind {
            CUSTOMER => Some(Quota {
                tokens: limit(self.customer_tokens),
                units: limit(self.customer_units),
                units_per_sku: limit(self.customer_units_per_sku),
                unpaid_orders: limit(self.customer_unpaid_orders),
            }),
            CHANNEL => Some(Quota {
                tokens: limit(self.channel_tokens),
                units: limit(self.channel_units),
                units_per_sku: limit(self.channel_units_per_sku),
                unpaid_orders: None,
            }),
            _ => None,
        }
    }
}

/// How long the steps of fulfillment orders may take, where no CLOCKS policy says something else. A running clock keeps the
/// times that it was started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClocksConfig {
    /// Seconds in which a node accepts an offer, counted while it is open.
    pub accept_s: i64,
    /// Seconds for which goods that are ready are kept.
    pub keep_s: i64,
    /// Seconds after the goods were ready at which the customer is reminded; 0: never.
    pub first_reminder_s: i64,
    /// The same for the second reminder.
    pub second_reminder_s: i64,
    /// Seconds in which the node puts back what the customer does not get.
    pub put_back_s: i64,
    /// Seconds of opening time that are left after the end of the keep time or of the put-back, where it would come while the
    /// node is shut; 0: the end does not move.
    pub min_open_s: i64,
    /// Seconds after the promised time at which unfinished work ends by itself.
    pub resolve_s: i64,
    /// A step is at risk when this share of its time is used, in percent, 1 to 99.
    pub at_risk_percent: i64,
}

impl Default for ClocksConfig {
    fn default() -> Self {
        let clocks = Method::Pickup.rules().clocks;
        let [first, second] = clocks.reminders.map(|wait| wait.map_or(0, |wait| wait.as_secs()));
        Self {
            accept_s: clocks.accept.as_secs(),
            keep_s: clocks.keep.as_secs(),
            first_reminder_s: first,
            second_reminder_s: second,
            put_back_s: clocks.put_back.as_secs(),
            min_open_s: clocks.min_open.as_secs(),
            resolve_s: clocks.resolve.as_secs(),
            at_risk_percent: clocks.at_risk_percent,
        }
    }
}

impl ClocksConfig {
    /// The clocks.
    pub(crate) fn clocks(&self) -> Clocks {
        let wait = |seconds: i64| (seconds > 0).then(|| SignedDuration::from_secs(seconds));
        Clocks {
            accept: SignedDuration::from_secs(self.accept_s),
            keep: SignedDuration::from_secs(self.keep_s),
            transit: None,
            reminders: [wait(self.first_reminder_s), wait(self.second_reminder_s)],
            put_back: SignedDuration::from_secs(self.put_back_s),
            min_open: SignedDuration::from_secs(self.min_open_s),
            resolve: SignedDuration::from_secs(self.resolve_s),
            at_risk_percent: self.at_risk_percent,
            versions: Versions::SETTINGS,
        }
    }

    /// What is wrong with these settings, in words that follow `setting`.
    pub fn check(&self) -> Result<(), String> {
        self.clocks().check().map_err(|(field, why)| match field {
            "reminder" => format!("`fulfillment.clocks.first_reminder_s` or `second_reminder_s` {why}"),
            "at_risk_percent" => format!("`fulfillment.clocks.at_risk_percent` {why}"),
            field => format!("`fulfillment.clocks.{field}_s` {why}"),
        })
    }
}

/// The weights by which nodes are compared, in points, where no SOURCING policy says something else: less is better.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourcingConfig {
    /// Names this set of weights in stored decisions; change it with the weights.
    pub version: String,
    /// Points for each kilometre.
    pub per_km: i64,
    /// Points for each hour of waiting.
    pub per_hour: i64,
    /// Points for each percent of load of the slot.
    pub per_load_percent: i64,
    /// Points when the stock serves this cart and no other; half as much for two, a third for three.
    pub last_unit: i64,
}

impl Default for SourcingConfig {
    fn default() -> Self {
        let Weights { version, per_km, per_hour, per_load_percent, last_unit } = Weights::default();
        Self { version, per_km, per_hour, per_load_percent, last_unit }
    }
}

impl SourcingConfig {
    /// The weights.
    pub(crate) fn weights(&self) -> Weights {
        let Self { version, per_km, per_hour, per_load_percent, last_unit } = self.clone();
        Weights { version, per_km, per_hour, per_load_percent, last_unit }
    }
}

/// Settings of the nodes' work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkConfig {
    /// Key under which pickup codes are hashed; set by the program, never by this section. All processes of a
    /// deployment need the same. Empty: a random one, so that codes end with the process.
    #[serde(skip)]
    pub pickup_code_secret: Secret,
    /// Start although the database was used with another key for pickup codes: all codes issued so far become void, and
    /// channels must issue new ones.
    pub replace_pickup_code_key: bool,
    /// Characters of a pickup code, 8 to 32.
    pub pickup_code_chars: usize,
    /// Codes that one caller may miss within the window before look-ups must wait.
    pub caller_misses: i64,
    /// Codes that may be missed at one node within the window.
    pub node_misses: i64,
    /// The window, in seconds.
    pub miss_window_s: i64,
    /// Streams of work that may be open at once in this process.
    pub max_watchers: usize,
    /// Seconds after which an idle stream gets a sign of life.
    pub keep_alive_s: u64,
    /// Days for which a store that was offline can resume its stream.
    pub feed_days: i64,
    /// Offers of a node that run out in a row until it gets no promises; 0: it always gets some.
    pub silent_after: i64,
    /// Seconds for which it gets none then, unless it answers.
    pub silent_s: i64,
}

impl WorkConfig {
    /// How much silence of a node is borne.
    pub(crate) fn patience(&self) -> Patience {
        Patience { offers: self.silent_after, length: SignedDuration::from_secs(self.silent_s) }
    }
}

impl Default for WorkConfig {
    fn default() -> Self {
        Self {
            pickup_code_secret: Secret::default(),
            replace_pickup_code_key: false,
            pickup_code_chars: 8,
            caller_misses: 10,
            node_misses: 60,
            miss_window_s: 600,
            max_watchers: 10_000,
            keep_alive_s: 20,
            feed_days: 7,
            silent_after: 3,
            silent_s: 14_400,
        }
    }
}

/// A setting that is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "***" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::new("correct horse battery");
        let config = WorkConfig { pickup_code_secret: secret, ..WorkConfig::default() };
        assert!(!format!("{config:?}").contains("horse"));
        assert!(!serde_json::to_string(&config).unwrap().contains("horse"));
    }
}
