//! What the settings of this process say where no version does. Settings of other services are not known here, and the
//! fields that they speak for stay absent.

use domain::policy::{Body, ClocksBody, Field, LimitsBody, SourcingBody};
use jiff::SignedDuration;
use server::auth::kind::CUSTOMER;

use crate::config::Config;

/// A body with the settings beneath it.
pub(super) fn beneath(config: &Config, body: Body) -> Body {
    match body {
        Body::Clocks(body) => Body::Clocks(clocks(config, &body)),
        Body::Sourcing(body) => Body::Sourcing(sourcing(config, body)),
        Body::Limits(body) => Body::Limits(limits(config, body)),
        Body::SafetyStock(_) | Body::Pools(_) | Body::Scenario(_) => body,
    }
}

fn clocks(config: &Config, body: &ClocksBody) -> ClocksBody {
    let base = config.clocks.clocks();
    let [first, second] = base.reminders.map(|reminder| reminder.unwrap_or(SignedDuration::ZERO));
    ClocksBody {
        accept: body.accept.or(Some(base.accept)),
        keep: body.keep.or(Some(base.keep)),
        first_reminder: body.first_reminder.or(Some(first)),
        second_reminder: body.second_reminder.or(Some(second)),
        put_back: body.put_back.or(Some(base.put_back)),
        resolve: body.resolve.or(Some(base.resolve)),
        min_open: body.min_open.or(Some(base.min_open)),
        transit: body.transit.or(base.transit),
        at_risk_percent: body.at_risk_percent.or(i32::try_from(base.at_risk_percent).ok()),
        ..*body
    }
}

fn sourcing(config: &Config, body: SourcingBody) -> SourcingBody {
    let weights = config.sourcing.weights();
    let patience = config.work.patience();
    // 0 in the settings is no limit, which a version cannot say.
    let offers = i32::try_from(patience.offers).ok().filter(|offers| *offers > 0);
    SourcingBody {
        per_km: body.per_km.or(Some(weights.per_km)),
        per_hour: body.per_hour.or(Some(weights.per_hour)),
        per_load_percent: body.per_load_percent.or(Some(weights.per_load_percent)),
        last_unit: body.last_unit.or(Some(weights.last_unit)),
        silent_after: body.silent_after.or(offers),
        silent_for: body.silent_for.or(offers.map(|_| patience.length)),
        ..body
    }
}

/// Limits of a customer: versions say nothing of what a channel itself may hold.
fn limits(config: &Config, body: LimitsBody) -> LimitsBody {
    let Some(quota) = config.limits.of(CUSTOMER) else { return body };
    let most = |limit: Option<Field<i64>>| limit.map(|limit| limit.value);
    LimitsBody {
        max_tokens: body.max_tokens.or(most(quota.tokens)),
        max_units: body.max_units.or(most(quota.units)),
        max_units_per_sku: body.max_units_per_sku.or(most(quota.units_per_sku)),
        max_unpaid_orders: body.max_unpaid_orders.or(most(quota.unpaid_orders)),
    }
}
