//! Nodes on the wire.

use std::collections::{BTreeMap, HashSet};

use contract::fulfillment::v1 as pb;
use contract::google::r#type as google;
use domain::fulfillment::method::Method;
use domain::name::check_name;
use domain::network::capacity::Rule;
use domain::network::hours::{Closure, Day, Hours, HoursError, Interval, Zone};
use domain::network::{Kind, Node, Service};
use domain::time::from_micros;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use service::{Fault, Fields};

use super::{duration, instant, method_name, node_id, place, timestamp};
use crate::error::Error;
use crate::network::command::PutNode;
use crate::store::network::StoredNode;

const DEFAULT_PREPARATION: SignedDuration = SignedDuration::from_mins(30);
const DEFAULT_SLOT: SignedDuration = SignedDuration::from_mins(60);
const MOST_PREPARATION: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Checks the nodes of a request, each by itself. A node that stands in it twice refuses the whole: which one is meant?
pub(crate) fn nodes(nodes: Vec<pb::Node>) -> Result<Vec<PutNode>, Error> {
    let (mut seen, mut is_unclear) = (HashSet::new(), false);
    let put = |(i, asked): (usize, pb::Node)| {
        let mut fields = Fields::default();
        node(&asked, &format!("nodes[{i}]"), &mut fields);
        if !seen.insert(asked.node_id.clone()) {
            fields.refuse(format_args!("nodes[{i}].node_id"), "duplicate");
            is_unclear = true;
        }
        PutNode { node: asked, faults: fields.into_violations() }
    };
    let checked: Vec<PutNode> = nodes.into_iter().enumerate().map(put).collect();
    if is_unclear {
        return Err(Fault::Invalid(checked.into_iter().flat_map(|one| one.faults).take(100).collect()).into());
    }
    Ok(checked)
}

/// Checks a node of a request; `at` is the path of its field.
pub(crate) fn node(node: &pb::Node, at: &str, fields: &mut Fields) -> Option<Node> {
    let field = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    let id = node_id(fields, field("node_id"), &node.node_id);
    fields.take(field("name"), check_name(&node.name, Node::MAX_NAME));
    let asked = fields.take(field("kind"), contract::enums::known::<pb::NodeKind>(node.kind));
    let kind = asked.and_then(kind);
    if asked.is_some() && kind.is_none() {
        fields.refuse(field("kind"), "must be one of the kinds of node");
    }
    let position = node.place.map_or_else(|| Err("is required".to_owned()), place);
    let position = fields.take(field("place"), position);
    let hours = hours(node, &field, fields);
    let services = services(node, &field, fields);
    let capacity = capacity(node, &field, fields);
    let node = Node {
        id: id?,
        name: node.name.clone(),
        kind: kind?,
        position: position?,
        hours: hours?,
        services: services?,
        capacity: capacity?,
    };
    // Each part was checked under its own name; this is the law of the whole.
    if fields.is_empty()
        && let Err(why) = node.check()
    {
        fields.refuse(field("node_id"), why);
    }
    Some(node)
}

fn kind(asked: pb::NodeKind) -> Option<Kind> {
    let name = asked.as_str_name();
    Kind::parse(name.strip_prefix("NODE_KIND_")?)
}

fn hours(node: &pb::Node, field: &impl Fn(&str) -> String, fields: &mut Fields) -> Option<Hours> {
    let zone = Zone::named(&node.time_zone).map_err(|why| near_zone(&node.time_zone, &why));
    let zone = fields.take(field("time_zone"), zone);
    let mut week: [Vec<Interval>; 7] = Default::default();
    for (i, span) in node.hours.iter().enumerate() {
        let at = field(&format!("hours[{i}]"));
        let Some(day) = usize::try_from(span.day).ok().filter(|day| (1..=7).contains(day)) else {
            fields.refuse(format_args!("{at}.day"), "must be a day of the week");
            continue;
        };
        if let Some(interval) = interval(span.open_time, span.close_time, &at, fields) {
            week[day - 1].push(interval);
        }
    }
    let mut days: [Day; 7] = Default::default();
    for (day, mut intervals) in days.iter_mut().zip(week) {
        intervals.sort_by_key(|interval| interval.opens());
        *day = fields.take(field("hours"), Day::new(intervals))?;
    }
    let exceptions = exceptions(node, field, fields);
    let closures = node.closing.as_ref().map(|closing| closure(closing, &field("closing"), fields));
    let closures = match closures {
        None => Vec::new(),
        Some(closure) => vec![closure?],
    };
    let hours = Hours::weekly(zone?, days);
    let hours = fields.take(field("exceptions"), hours.with_exceptions(exceptions?))?;
    fields.take(field("closing"), hours.with_closures(closures))
}

/// How near a name must be to one that exists to be taken for it, from 0 to 1.
const ALIKE: f64 = 0.75;

/// What is wrong with the name of a time zone, with the nearest one that exists. People also write the city alone.
fn near_zone(name: &str, why: &HoursError) -> String {
    let wanted: String = name.to_lowercase().chars().take(100).collect();
    let likeness = |zone: &str| {
        let zone = zone.to_lowercase();
        let city = zone.rsplit('/').next().unwrap_or_default();
        strsim::jaro_winkler(&wanted, &zone).max(strsim::jaro_winkler(&wanted, city))
    };
    let zones = jiff::tz::TimeZoneDatabase::bundled();
    let nearest = zones.available().map(|zone| (likeness(zone.as_str()), zone.to_string()));
    match nearest.max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(&a.1))) {
        Some((likeness, zone)) if likeness >= ALIKE => format!("{why}; did you mean {zone}?"),
        Some(_) | None => why.to_string(),
    }
}

fn exceptions(
    node: &pb::Node,
    field: &impl Fn(&str) -> String,
    fields: &mut Fields,
) -> Option<BTreeMap<Date, Day>> {
    let mut exceptions = BTreeMap::new();
    for (i, exception) in node.exceptions.iter().enumerate() {
        let at = field(&format!("exceptions[{i}]"));
        let Some(date) = exception.date.as_ref().and_then(date) else {
            fields.refuse(format_args!("{at}.date"), "must be a date with year, month and day");
            continue;
        };
        let mut intervals: Vec<Interval> = Vec::with_capacity(exception.spans.len());
        for (j, span) in exception.spans.iter().enumerate() {
            let at = format!("{at}.spans[{j}]");
            intervals.extend(interval(span.open_time, span.close_time, &at, fields));
        }
        intervals.sort_by_key(|interval| interval.opens());
        let day = fields.take(format_args!("{at}.spans"), Day::new(intervals))?;
        if exceptions.insert(date, day).is_some() {
            fields.refuse(format_args!("{at}.date"), "duplicate");
        }
        label(&exception.name, &format!("{at}.name"), fields);
    }
    Some(exceptions)
}

fn date(date: &google::Date) -> Option<Date> {
    let year = i16::try_from(date.year).ok().filter(|year| *year > 0)?;
    Date::new(year, i8::try_from(date.month).ok()?, i8::try_from(date.day).ok()?).ok()
}

fn interval(
    open: Option<google::TimeOfDay>,
    close: Option<google::TimeOfDay>,
    at: &str,
    fields: &mut Fields,
) -> Option<Interval> {
    let open = fields.take(format_args!("{at}.open_time"), open.ok_or("is required").and_then(minute));
    let close = fields.take(format_args!("{at}.close_time"), close.ok_or("is required").and_then(minute));
    fields.take(at, Interval::new(open?, close?))
}

/// The minute of the day; 24:00 is allowed.
fn minute(time: google::TimeOfDay) -> Result<u16, &'static str> {
    let odd = "must be a whole minute from 00:00 to 24:00";
    let whole = time.seconds == 0 && time.nanos == 0;
    let in_day = (0..24).contains(&time.hours) || (time.hours == 24 && time.minutes == 0);
    if !whole || !in_day || !(0..60).contains(&time.minutes) {
        return Err(odd);
    }
    u16::try_from(time.hours * 60 + time.minutes).map_err(|_| odd)
}

/// A text for people that may be empty.
fn label(text: &str, at: &str, fields: &mut Fields) {
    if !text.is_empty() {
        fields.take(at, check_name(text, 200));
    }
}

/// A temporary closing.
pub(crate) fn closure(closing: &pb::TemporaryClosing, at: &str, fields: &mut Fields) -> Option<Closure> {
    label(&closing.reason, &format!("{at}.reason"), fields);
    let from = match closing.from_time {
        None => Err("is required".to_owned()),
        Some(from) => instant(from).map_err(|why| why.to_string()),
    };
    let from = fields.take(format_args!("{at}.from_time"), from);
    let until = match closing.until_time.map(instant).transpose() {
        Ok(until) => Some(until),
        Err(why) => {
            fields.refuse(format_args!("{at}.until_time"), why);
            None
        }
    };
    let (from, until) = (from?, until?);
    if until.is_some_and(|until| until <= from) {
        fields.refuse(format_args!("{at}.until_time"), "must be after from_time");
        return None;
    }
    Some(Closure { from, until, reason: closing.reason.clone() })
}

fn services(node: &pb::Node, field: &impl Fn(&str) -> String, fields: &mut Fields) -> Option<Vec<Service>> {
    if node.methods.is_empty() {
        fields.refuse(field("methods"), "must name at least one");
    }
    let preparation = match node.preparation.map(duration) {
        None => Some(DEFAULT_PREPARATION),
        Some(length) => fields.take(field("preparation"), length),
    };
    if preparation.is_some_and(|length| length.is_negative() || length > MOST_PREPARATION) {
        fields.refuse(field("preparation"), "must be from 0 to 7 days");
    }
    let cut_off = match node.pickup_cut_off.map(minute).transpose() {
        Ok(cut_off) => Some(cut_off),
        Err(why) => {
            fields.refuse(field("pickup_cut_off"), why);
            None
        }
    };
    let radius_m = match u32::try_from(node.radius_m).ok().filter(|radius| *radius <= 20_100_000) {
        None => {
            fields.refuse(field("radius_m"), "must be from 0 (no limit) to 20100000");
            None
        }
        Some(0) => Some(None),
        Some(radius) => Some(Some(radius)),
    };
    let mut services: Vec<Service> = Vec::new();
    let (preparation, cut_off_minute, radius_m) = (preparation?, cut_off?, radius_m?);
    let preparation_minutes = u32::try_from((preparation.as_secs() + 59) / 60).unwrap_or(0);
    for (i, number) in node.methods.iter().enumerate() {
        let at = field(&format!("methods[{i}]"));
        let Some(name) = method_name(*number).filter(|name| *name != "UNSPECIFIED") else {
            fields.refuse(at, "must be a method");
            continue;
        };
        if node.methods[..i].contains(number) {
            fields.refuse(at, "duplicate");
            continue;
        }
        // A node may say that it offers more than this version can promise.
        if let Some(method) = Method::parse(name) {
            services.push(Service { method, preparation_minutes, cut_off_minute, radius_m });
        }
    }
    Some(services)
}

fn capacity(node: &pb::Node, field: &impl Fn(&str) -> String, fields: &mut Fields) -> Option<Vec<Rule>> {
    let slot = match node.capacity_slot.map(duration) {
        None => Some(DEFAULT_SLOT),
        Some(length) => fields.take(field("capacity_slot"), length),
    }?;
    let minutes = u16::try_from(slot.as_mins()).ok().filter(|minutes| (15..=1_440).contains(minutes));
    let whole = slot.as_secs() % 60 == 0;
    let Some(minutes) = minutes.filter(|_| whole) else {
        fields.refuse(field("capacity_slot"), "must be whole minutes, from 15 min to 24 h");
        return None;
    };
    let Some(max) = node.pickup_capacity_per_slot else { return Some(Vec::new()) };
    let Ok(max) = u32::try_from(max) else {
        fields.refuse(field("pickup_capacity_per_slot"), "must not be negative");
        return None;
    };
    let rule = Rule::new(Method::Pickup.rules().activity, minutes, max);
    Some(vec![fields.take(field("capacity_slot"), rule)?])
}

/// A stored node as the domain knows it.
pub(crate) fn stored(stored: &StoredNode) -> Result<Node, Error> {
    let mut fields = Fields::default();
    let read = node(&stored.node, "", &mut fields);
    match (fields.done(), read) {
        (Ok(()), Some(node)) => Ok(node),
        (Err(_), _) | (Ok(()), None) => Err(Error::corrupt(format!("node {}", stored.node.node_id))),
    }
}

/// The mark of a version.
pub(crate) fn etag(version: i64) -> String {
    format!("v{version}")
}

/// A stored node as the wire has it; `silent`: until when it gets no promises.
pub(crate) fn answer(stored: StoredNode, silent: Option<Timestamp>) -> pb::Node {
    pb::Node {
        etag: etag(stored.version),
        update_time: Some(timestamp(from_micros(stored.updated_at))),
        silent_until_time: silent.map(timestamp),
        ..stored.node
    }
}

/// A node of a request without what only answers have.
pub(crate) fn bare(node: pb::Node) -> pb::Node {
    pb::Node { etag: String::new(), update_time: None, silent_until_time: None, ..node }
}
