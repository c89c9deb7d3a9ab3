//! Nodes on the wire.

use std::collections::{BTreeMap, HashSet};

use contract::fulfillment::v1 as pb;
use contract::google::r#type as google;
use domain::fulfillment::method::Method;
use domain::name::check_name;
use domain::network::capacity::{Activity, CapacityError, Most, Rule};
use domain::network::hours::{Closure, Day, Hours, HoursError, Interval, Zone};
use domain::network::{Kind, Node, Service, Tag};
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
/// The most services of a node, and the most capacities: more than there are methods or kinds of work.
const MOST_TERMS: usize = 20;
/// One for each day of the week, and one for all others.
const MOST_CUT_OFFS: usize = 8;
const BAD_DATE: &str = "must be a date with year, month and day";

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
    let tags = tags(node, &field, fields);
    let node = Node {
        id: id?,
        name: node.name.clone(),
        kind: kind?,
        position: position?,
        hours: hours?,
        services,
        capacity,
        tags,
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
    let first = day(node.first_day.as_ref(), field("first_day"), fields);
    let last = day(node.last_day.as_ref(), field("last_day"), fields);
    let hours = Hours::weekly(zone?, days);
    let hours = fields.take(field("exceptions"), hours.with_exceptions(exceptions?))?;
    let hours = fields.take(field("closing"), hours.with_closures(closures))?;
    fields.take(field("last_day"), hours.with_days(first, last))
}

/// A date that may be absent.
fn day(asked: Option<&google::Date>, at: String, fields: &mut Fields) -> Option<Date> {
    asked.and_then(|asked| fields.take(at, date(asked).ok_or(BAD_DATE)))
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
            fields.refuse(format_args!("{at}.date"), BAD_DATE);
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

/// What a node offers.
fn services(node: &pb::Node, field: &impl Fn(&str) -> String, fields: &mut Fields) -> Vec<Service> {
    fields.count(field("services"), node.services.len(), MOST_TERMS);
    let mut services: Vec<Service> = Vec::new();
    let mut seen = HashSet::new();
    for (i, asked) in node.services.iter().take(MOST_TERMS).enumerate() {
        let at = field(&format!("services[{i}]"));
        let name = method_name(asked.method).filter(|name| *name != "UNSPECIFIED");
        let name = fields.take(format_args!("{at}.method"), name.ok_or("must be a method"));
        let is_repeated = name.is_some_and(|name| !seen.insert(name));
        fields.check(!is_repeated, format_args!("{at}.method"), "duplicate");
        // A node may say that it offers more than this version can promise.
        services.extend(service(asked, name.and_then(Method::parse), &at, fields));
    }
    services
}

/// The terms on which a node offers a method; none also where the method is not promised by this version.
fn service(
    asked: &pb::NodeService,
    method: Option<Method>,
    at: &str,
    fields: &mut Fields,
) -> Option<Service> {
    let preparation = match asked.preparation.map(duration) {
        None => Ok(DEFAULT_PREPARATION),
        Some(Ok(length)) if length.is_negative() || length > MOST_PREPARATION => {
            Err("must be from 0 to 7 days".to_owned())
        }
        Some(length) => length.map_err(ToString::to_string),
    };
    let preparation = fields.take(format_args!("{at}.preparation"), preparation);
    let radius_m = match u32::try_from(asked.radius_m) {
        Ok(0) => Ok(None),
        Ok(radius @ 1..=20_100_000) => Ok(Some(radius)),
        Ok(_) | Err(_) => Err("must be from 0 (no limit) to 20100000"),
    };
    let radius_m = fields.take(format_args!("{at}.radius_m"), radius_m);
    let cut_offs = cut_offs(&asked.cut_offs, at, fields);
    let preparation_minutes = u32::try_from((preparation?.as_secs() + 59) / 60).unwrap_or(0);
    Some(Service { method: method?, preparation_minutes, cut_offs, radius_m: radius_m? })
}

/// The cut-off of each weekday, Monday first.
fn cut_offs(asked: &[pb::CutOff], at: &str, fields: &mut Fields) -> [Option<u16>; 7] {
    fields.at_most(format_args!("{at}.cut_offs"), asked.len(), MOST_CUT_OFFS);
    // By number of the day on the wire: 0 is every day that has none of its own.
    let mut by_day: [Option<u16>; MOST_CUT_OFFS] = Default::default();
    for (i, cut_off) in asked.iter().take(MOST_CUT_OFFS).enumerate() {
        let at = format!("{at}.cut_offs[{i}]");
        let time = cut_off.time.ok_or("is required").and_then(minute);
        let time = fields.take(format_args!("{at}.time"), time);
        let day = usize::try_from(cut_off.day).ok().and_then(|day| by_day.get_mut(day));
        let day = day.ok_or("must be a day of the week, or unspecified for all others");
        if let (Some(day), Some(time)) = (fields.take(format_args!("{at}.day"), day), time) {
            let is_repeated = day.replace(time).is_some();
            fields.check(!is_repeated, format_args!("{at}.day"), "duplicate");
        }
    }
    let [others, days @ ..] = by_day;
    days.map(|day| day.or(others))
}

/// How much a node takes on.
fn capacity(node: &pb::Node, field: &impl Fn(&str) -> String, fields: &mut Fields) -> Vec<Rule> {
    fields.at_most(field("capacity"), node.capacity.len(), MOST_TERMS);
    let mut rules = Vec::new();
    let mut seen = HashSet::new();
    for (i, asked) in node.capacity.iter().take(MOST_TERMS).enumerate() {
        let at = field(&format!("capacity[{i}]"));
        let activity = Activity::ALL.into_iter().find(|known| known.name() == asked.work);
        let activity = activity.ok_or_else(|| {
            let known: Vec<&str> = Activity::ALL.iter().map(|known| known.name()).collect();
            format!("must be one of {}", known.join(", "))
        });
        let activity = fields.take(format_args!("{at}.work"), activity);
        let is_repeated = activity.is_some_and(|activity| !seen.insert(activity));
        fields.check(!is_repeated, format_args!("{at}.work"), "duplicate");
        let slot = fields.take(format_args!("{at}.slot"), slot_minutes(asked.slot));
        let (name, most) = match asked.most {
            None => continue,
            Some(pb::node_capacity::Most::Orders(orders)) => ("orders", Most::Orders(orders)),
            Some(pb::node_capacity::Most::Units(units)) => ("units", Most::Units(units)),
        };
        fields.check(most.limit() >= 0, format_args!("{at}.{name}"), CapacityError::Negative);
        if let (Some(activity), Some(slot), 0..) = (activity, slot, most.limit()) {
            rules.extend(fields.take(at, Rule::new(activity, slot, most)));
        }
    }
    rules
}

/// Minutes of a slot.
fn slot_minutes(asked: Option<prost_types::Duration>) -> Result<u16, String> {
    let length = asked.map_or(Ok(DEFAULT_SLOT), duration).map_err(ToString::to_string)?;
    let minutes = u16::try_from(length.as_mins()).ok().filter(|minutes| (15..=1_440).contains(minutes));
    let minutes = minutes.filter(|_| length.as_secs() % 60 == 0 && length.subsec_nanos() == 0);
    minutes.ok_or_else(|| "must be whole minutes, from 15 min to 24 h".to_owned())
}

/// Words by which groups choose it.
fn tags(node: &pb::Node, field: &impl Fn(&str) -> String, fields: &mut Fields) -> Vec<Tag> {
    fields.at_most(field("tags"), node.tags.len(), Node::MAX_TAGS);
    fields.distinct(field("tags"), &node.tags, Node::MAX_TAGS)
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
