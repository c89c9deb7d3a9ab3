//! Bodies of versions.

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::policy::Body as Wire;
use domain::policy::{
    Body, ClocksBody, LimitsBody, Pool, PoolsBody, SafetyStockBody, ScenarioBody, SourcingBody,
};
use jiff::SignedDuration;
use prost_types::Duration;
use service::Fields;
use service::wire::method;

use super::known_method;

/// The longest length of time that the wire can say, in seconds.
const MOST_SECONDS: i64 = 315_576_000_000;

/// Reads a body, with what is malformed named below `at`. It must be there.
pub(super) fn read(fields: &mut Fields, at: &str, body: Option<&Wire>) -> Option<Body> {
    let within = |body: &str| if at.is_empty() { body.to_owned() } else { format!("{at}.{body}") };
    let Some(body) = body else {
        let why = "is required: one of clocks, sourcing, safety_stock, pools, limits and scenario";
        fields.refuse(within("body"), why);
        return None;
    };
    Some(match body {
        Wire::Clocks(body) => Body::Clocks(clocks(&mut Lengths { fields, at: within("clocks") }, body)),
        Wire::Sourcing(body) => {
            Body::Sourcing(sourcing(&mut Lengths { fields, at: within("sourcing") }, body))
        }
        Wire::SafetyStock(body) => {
            Body::SafetyStock(SafetyStockBody { units: body.units, percent: body.percent })
        }
        Wire::Pools(body) => {
            let pool = |pool: &pb::ChannelPool| Pool { channel: pool.channel.clone(), units: pool.units };
            Body::Pools(PoolsBody { pools: body.pools.iter().map(pool).collect() })
        }
        Wire::Limits(body) => Body::Limits(LimitsBody {
            max_tokens: body.max_tokens,
            max_units: body.max_units,
            max_units_per_sku: body.max_units_per_sku,
            max_unpaid_orders: body.max_unpaid_orders,
        }),
        Wire::Scenario(body) => {
            Body::Scenario(scenario(&mut Lengths { fields, at: within("scenario") }, body))
        }
    })
}

/// Reads lengths of time of one body.
struct Lengths<'a> {
    fields: &'a mut Fields,
    at: String,
}

impl Lengths<'_> {
    fn take(&mut self, field: &str, length: Option<Duration>) -> Option<SignedDuration> {
        let at = &self.at;
        length.and_then(|length| self.fields.take(format_args!("{at}.{field}"), self::length(length)))
    }
}

fn length(length: Duration) -> Result<SignedDuration, &'static str> {
    let is_whole = length.seconds.unsigned_abs() <= MOST_SECONDS.unsigned_abs()
        && length.nanos.unsigned_abs() < 1_000_000_000
        && length.seconds.signum() * i64::from(length.nanos.signum()) >= 0;
    if is_whole {
        Ok(SignedDuration::new(length.seconds, length.nanos))
    } else {
        Err("must be a duration of less than 10000 years with nanos of the same sign")
    }
}

fn clocks(read: &mut Lengths<'_>, body: &pb::ClocksPolicy) -> ClocksBody {
    ClocksBody {
        accept: read.take("accept", body.accept),
        keep: read.take("keep", body.keep),
        first_reminder: read.take("first_reminder", body.first_reminder),
        second_reminder: read.take("second_reminder", body.second_reminder),
        put_back: read.take("put_back", body.put_back),
        resolve: read.take("resolve", body.resolve),
        min_open: read.take("min_open", body.min_open),
        transit: read.take("transit", body.transit),
        payment: read.take("payment", body.payment),
        payment_grace: read.take("payment_grace", body.payment_grace),
        need_answer: read.take("need_answer", body.need_answer),
        at_risk_percent: body.at_risk_percent,
    }
}

fn sourcing(read: &mut Lengths<'_>, body: &pb::SourcingPolicy) -> SourcingBody {
    SourcingBody {
        per_km: body.per_km,
        per_hour: body.per_hour,
        per_load_percent: body.per_load_percent,
        last_unit: body.last_unit,
        slack: read.take("slack", body.slack),
        max_offers: body.max_offers,
        max_parts: body.max_parts,
        silent_after: body.silent_after,
        silent_for: read.take("silent_for", body.silent_for),
    }
}

fn scenario(read: &mut Lengths<'_>, body: &pb::ScenarioPolicy) -> ScenarioBody {
    let mut paused_methods = Vec::with_capacity(body.paused_methods.len());
    for (i, number) in body.paused_methods.iter().enumerate() {
        let at = format!("{}.paused_methods[{i}]", read.at);
        paused_methods.extend(read.fields.take(at, known_method(*number)));
    }
    ScenarioBody {
        name: body.name.clone(),
        paused_methods,
        extra_preparation: read.take("extra_preparation", body.extra_preparation),
        max_radius_m: body.max_radius_m,
    }
}

fn shown(length: Option<SignedDuration>) -> Option<Duration> {
    length.map(|length| Duration { seconds: length.as_secs(), nanos: length.subsec_nanos() })
}

/// A body as the wire has it.
pub fn shown_body(body: &Body) -> Wire {
    match body {
        Body::Clocks(body) => Wire::Clocks(pb::ClocksPolicy {
            accept: shown(body.accept),
            keep: shown(body.keep),
            first_reminder: shown(body.first_reminder),
            second_reminder: shown(body.second_reminder),
            put_back: shown(body.put_back),
            resolve: shown(body.resolve),
            min_open: shown(body.min_open),
            transit: shown(body.transit),
            payment: shown(body.payment),
            payment_grace: shown(body.payment_grace),
            need_answer: shown(body.need_answer),
            at_risk_percent: body.at_risk_percent,
        }),
        Body::Sourcing(body) => Wire::Sourcing(pb::SourcingPolicy {
            per_km: body.per_km,
            per_hour: body.per_hour,
            per_load_percent: body.per_load_percent,
            last_unit: body.last_unit,
            slack: shown(body.slack),
            max_offers: body.max_offers,
            max_parts: body.max_parts,
            silent_after: body.silent_after,
            silent_for: shown(body.silent_for),
        }),
        Body::SafetyStock(body) => {
            Wire::SafetyStock(pb::SafetyStockPolicy { units: body.units, percent: body.percent })
        }
        Body::Pools(body) => {
            let pool = |pool: &Pool| pb::ChannelPool { channel: pool.channel.clone(), units: pool.units };
            Wire::Pools(pb::PoolsPolicy { pools: body.pools.iter().map(pool).collect() })
        }
        Body::Limits(body) => Wire::Limits(pb::LimitsPolicy {
            max_tokens: body.max_tokens,
            max_units: body.max_units,
            max_units_per_sku: body.max_units_per_sku,
            max_unpaid_orders: body.max_unpaid_orders,
        }),
        Body::Scenario(body) => Wire::Scenario(pb::ScenarioPolicy {
            name: body.name.clone(),
            paused_methods: body.paused_methods.iter().map(|of| method(*of)).collect(),
            extra_preparation: shown(body.extra_preparation),
            max_radius_m: body.max_radius_m,
        }),
    }
}
