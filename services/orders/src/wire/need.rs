//! Needs, their options and the consent that they go by.

use contract::orders::v1 as pb;
use contract::r#type::v1::Window;
use domain::fulfillment::method::Method;
use domain::id::{NodeId, OptionId};
use domain::order::seek::excluded;
use domain::order::{Choice, Consent, Group, Need, NeedState, OptionKind, Order, Quote, Span};
use domain::time::{Timestamp, from_parts};
use prost::Message as _;

use super::event::pieces;
use super::order::wishes;
use super::{method, method_name, money, time, window};

/// The most needs that an order shows: the last ones.
const MOST_SHOWN: usize = 50;

/// The needs of an order, oldest first.
pub(super) fn needs(order: &Order) -> Vec<pb::Need> {
    let skipped = order.needs.len().saturating_sub(MOST_SHOWN);
    order.needs.iter().skip(skipped).map(|one| need(order, one)).collect()
}

pub(super) fn need(order: &Order, need: &Need) -> pb::Need {
    let line = |line: &domain::order::NeedLine| pb::NeedLine {
        line: line.line,
        quantity: line.quantity,
        sourced: line.sourced,
        dropped: line.dropped,
    };
    let out = |(node, reason): (NodeId, String)| pb::ExcludedNode { node_id: node.to_string(), reason };
    pb::Need {
        need_id: need.id.to_string(),
        group: need.group,
        fulfillment_id: need.leg.map(|leg| leg.to_string()).unwrap_or_default(),
        state: state(need.state()).into(),
        reason: need.reason.clone(),
        lines: need.lines.iter().map(line).collect(),
        excluded: excluded(order, need).into_iter().map(out).collect(),
        offers: need.offers,
        open_time: Some(time(need.opened)),
        resolve_by_time: need.asked.map(|asked| time(asked.resolve_by)),
        policy_version: need.asked.map_or(0, |asked| asked.policy),
    }
}

fn state(state: NeedState) -> pb::NeedState {
    match state {
        NeedState::Seeking => pb::NeedState::Seeking,
        NeedState::Asked => pb::NeedState::Asked,
        NeedState::Sourced => pb::NeedState::Sourced,
        NeedState::Dropped => pb::NeedState::Dropped,
    }
}

/// The options of a need that can still be chosen.
pub(crate) fn options(order: &Order, need: &Need, now: Timestamp) -> Vec<pb::NeedOption> {
    let costs = dropped(order, need, now);
    let open = need.options.iter().filter(|choice| choice.valid_until > now);
    open.map(|choice| option(order, need, choice, costs)).collect()
}

/// All options of a need. What dropping its pieces changes is computed once for all.
pub(super) fn all_options(order: &Order, need: &Need) -> Vec<pb::NeedOption> {
    let costs = dropped(order, need, order.updated_at);
    need.options.iter().map(|choice| option(order, need, choice, costs)).collect()
}

/// What the order costs more once the open pieces of a need are dropped, in minor units: nothing or less.
fn dropped(order: &Order, need: &Need, now: Timestamp) -> i64 {
    let after = order.clone().choose_drop(need.id, now);
    after.map_or(0, |changed| changed.order.owed_minor() - order.owed_minor())
}

fn option(order: &Order, need: &Need, choice: &Choice, drop_minor: i64) -> pb::NeedOption {
    let difference = if choice.kind == OptionKind::Drop { drop_minor } else { 0 };
    pb::NeedOption {
        need_id: need.id.to_string(),
        lines: pieces(&need.open()),
        difference: Some(money(difference, order.currency)),
        ..stored(choice)
    }
}

/// What is the same of an option whenever it is shown.
fn stored(choice: &Choice) -> pb::NeedOption {
    let kind = match choice.kind {
        OptionKind::OtherNode => pb::OptionKind::OtherNode,
        OptionKind::OtherMethod => pb::OptionKind::OtherMethod,
        OptionKind::Wait => pb::OptionKind::Wait,
        OptionKind::Drop => pb::OptionKind::Drop,
    };
    let place = choice.place.as_ref();
    pb::NeedOption {
        option_id: choice.id.to_string(),
        kind: kind.into(),
        node_id: place.map(|quote| quote.node.to_string()).unwrap_or_default(),
        node_name: place.map(|quote| quote.name.clone()).unwrap_or_default(),
        method: place.map_or(0, |quote| method(quote.method)),
        window: place.map(|quote| window(quote.window)),
        valid_until_time: Some(time(choice.valid_until)),
        ..pb::NeedOption::default()
    }
}

/// An option as it is stored.
pub(crate) fn option_body(choice: &Choice) -> Vec<u8> {
    stored(choice).encode_to_vec()
}

/// A stored option; none: it cannot be read.
pub(crate) fn option_of(id: OptionId, valid_until: Timestamp, body: &[u8]) -> Option<Choice> {
    let stored = pb::NeedOption::decode(body).ok()?;
    let kind = match stored.kind() {
        pb::OptionKind::OtherNode => OptionKind::OtherNode,
        pb::OptionKind::OtherMethod => OptionKind::OtherMethod,
        pb::OptionKind::Wait => OptionKind::Wait,
        pb::OptionKind::Drop => OptionKind::Drop,
        pb::OptionKind::Unspecified => return None,
    };
    let place = if stored.node_id.is_empty() {
        None
    } else {
        Some(quote(&stored.node_id, stored.node_name, stored.method, stored.window.as_ref())?)
    };
    Some(Choice { id, kind, place, valid_until })
}

/// A place and a time as the wire has them; none: they cannot be read.
pub(crate) fn quote(node: &str, name: String, method: i32, window: Option<&Window>) -> Option<Quote> {
    let method = method_name(method).and_then(Method::parse)?;
    Some(Quote { node: NodeId::new(node).ok()?, name, method, window: span(window?)? })
}

/// A span of time on the wire; none: it has no start or no end.
pub(crate) fn span(window: &Window) -> Option<Span> {
    let at = |time: Option<prost_types::Timestamp>| time.and_then(|t| from_parts(t.seconds, t.nanos).ok());
    Some(Span { start: at(window.start_time)?, end: at(window.end_time)? })
}

/// What may be done about a group without asking: nothing, unless its customer agreed.
pub(crate) fn consent_of(group: Option<&Group>) -> Consent {
    let given = wishes(group).consent.unwrap_or_default();
    let methods = given.other_methods.iter().filter_map(|number| Method::parse(method_name(*number)?));
    Consent {
        radius_m: given.other_node_radius_m,
        delay_until: given.delay_until_time.and_then(|at| from_parts(at.seconds, at.nanos).ok()),
        split: given.split,
        methods: methods.collect(),
    }
}
