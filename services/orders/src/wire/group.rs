//! Groups of an order to place: shape only.

use std::collections::HashSet;

use contract::orders::v1 as pb;
use contract::orders::v1::new_group::Where;
use contract::r#type::v1::{LineQuantity, Recipient, Window};
use domain::fulfillment::method::Method;
use domain::id::{LineNo, NodeId};
use domain::order::{DraftLine, Group, Span, group};
use domain::place::LatLng;
use domain::quantity::Quantity;
use prost::Message as _;
use service::Fields;

use super::method_of;

const MAX_GROUPS: usize = 20;
const MAX_RECIPIENTS: usize = 5;
const MAX_METHODS: usize = 5;
/// The farthest that another node may be by consent, in meters.
const MAX_RADIUS_M: i64 = 1_000_000;

/// The groups of a request. With a promise token they may be left out. `lines` are those of the order, if they are well
/// formed.
pub(super) fn groups(
    fields: &mut Fields,
    asked: Vec<pb::NewGroup>,
    lines: Option<&[DraftLine]>,
    has_token: bool,
    most_lines: usize,
) -> Option<Vec<Group>> {
    if asked.len() > MAX_GROUPS || (asked.is_empty() && !has_token) {
        fields.refuse("groups", format!("must be 1 to {MAX_GROUPS}, not {}", asked.len()));
        return None;
    }
    let (count, is_one) = (asked.iter().map(|group| group.lines.len()).sum::<usize>(), asked.len() == 1);
    if count > most_lines {
        fields.refuse("groups", format!("must have at most {most_lines} lines together, not {count}"));
        return None;
    }
    let mut found = Fields::default();
    let read: Vec<_> = asked
        .into_iter()
        .zip(1..)
        .map(|(asked, no)| {
            let all = is_one.then(|| lines.unwrap_or_default());
            one(&mut found, no, asked, all)
        })
        .collect();
    let mut groups: Option<Vec<Group>> = read.into_iter().collect();
    // Lines that are bad by themselves do not add up to anything.
    let are_sound = found.is_empty() && !groups.as_ref().is_none_or(Vec::is_empty);
    if let Some((groups, lines)) = groups.as_deref().zip(lines).filter(|_| are_sound) {
        for flaw in group::flaws(lines, groups) {
            found.refuse(flaw.field, flaw.description);
        }
    }
    for group in groups.iter_mut().flatten() {
        group.lines.sort_unstable();
    }
    fields.append(found);
    groups
}

/// One group. `all` are the lines that it has when it names none: those of the order, if it is the one group.
fn one(fields: &mut Fields, no: u32, mut asked: pb::NewGroup, all: Option<&[DraftLine]>) -> Option<Group> {
    let at = format!("groups[{}]", no - 1);
    let method = method(fields, &format!("{at}.method"), asked.method);
    let node = match &asked.r#where {
        Some(Where::NodeId(node)) => {
            Some(fields.take(format_args!("{at}.node_id"), NodeId::new(node.as_str()))?)
        }
        Some(Where::Address(address)) => {
            check_address(fields, &at, address);
            None
        }
        None => None,
    };
    let wanted = window(fields, &format!("{at}.wanted_window"), asked.wanted_window);
    let not_later_than = fields.time(format_args!("{at}.not_later_than_time"), asked.not_later_than_time);
    check_wishes(fields, &at, &asked);
    let given = std::mem::take(&mut asked.lines);
    let lines = match all {
        Some(all) if given.is_empty() => all.iter().map(|line| (line.no, line.amounts.quantity)).collect(),
        Some(_) | None => lines(fields, &at, &given),
    };
    // Only what is kept as it was sent.
    let wishes = pb::NewGroup {
        r#where: asked.r#where.filter(|place| matches!(place, Where::Address(_))),
        consent: asked.consent,
        recipient: asked.recipient,
        packaging: asked.packaging,
        ..pb::NewGroup::default()
    };
    Some(Group { no, method: method?, node, wanted, not_later_than, lines, wishes: wishes.encode_to_vec() })
}

fn method(fields: &mut Fields, field: &str, number: i32) -> Option<Method> {
    let known = fields.take(field, contract::enums::known::<contract::r#type::v1::Method>(number))?;
    fields.take(field, method_of(known.into()))
}

fn lines(fields: &mut Fields, at: &str, given: &[LineQuantity]) -> Vec<(LineNo, i64)> {
    fields.check(!given.is_empty(), format_args!("{at}.lines"), "must name lines, as there are other groups");
    let mut lines: Vec<(LineNo, i64)> = Vec::with_capacity(given.len());
    let mut seen = HashSet::with_capacity(given.len());
    for (i, line) in given.iter().enumerate() {
        let quantity = fields.take(format_args!("{at}.lines[{i}].quantity"), Quantity::new(line.quantity));
        let field = format!("{at}.lines[{i}].line");
        if line.line == 0 {
            fields.refuse(field, "must be at least 1");
        } else if !seen.insert(line.line) {
            fields.refuse(field, "duplicate");
        }
        lines.extend(quantity.map(|quantity| (line.line, quantity.get())));
    }
    lines
}

fn window(fields: &mut Fields, field: &str, window: Option<Window>) -> Option<Span> {
    let window = window?;
    let start = fields.required_time(format_args!("{field}.start_time"), window.start_time)?;
    let end = fields.required_time(format_args!("{field}.end_time"), window.end_time)?;
    fields.check(start < end, format_args!("{field}.end_time"), "must be later than start_time");
    Some(Span { start, end })
}

fn check_address(fields: &mut Fields, at: &str, address: &pb::Address) {
    fields.text(format_args!("{at}.address.address_ref"), &address.address_ref, 64);
    let point = address.place.and_then(|place| place.point);
    if let Some(point) = fields.required(format_args!("{at}.address.place.point"), point) {
        fields.take(format_args!("{at}.address.place.point"), LatLng::new(point.latitude, point.longitude));
    }
}

/// What is kept as it was sent must be well formed all the same.
fn check_wishes(fields: &mut Fields, at: &str, asked: &pb::NewGroup) {
    if let Some(consent) = &asked.consent {
        let is_near = (0..=MAX_RADIUS_M).contains(&consent.other_node_radius_m);
        let most = format!("must be from 0 to {MAX_RADIUS_M}");
        fields.check(is_near, format_args!("{at}.consent.other_node_radius_m"), most);
        let none = "substitutes are not offered yet";
        fields.check(!consent.substitute, format_args!("{at}.consent.substitute"), none);
        fields.time(format_args!("{at}.consent.delay_until_time"), consent.delay_until_time);
        let methods = consent.other_methods.len();
        let most = format!("must be at most {MAX_METHODS}");
        fields.check(methods <= MAX_METHODS, format_args!("{at}.consent.other_methods"), most);
        for (i, number) in consent.other_methods.iter().take(MAX_METHODS).enumerate() {
            let field = format!("{at}.consent.other_methods[{i}]");
            let is_again = consent.other_methods[..i].contains(number);
            if method(fields, &field, *number).is_some() {
                fields.check(!is_again, field, "duplicate");
            }
        }
    }
    if let Some(recipient) = &asked.recipient {
        check_recipient(fields, at, recipient);
    }
    if let Some(packaging) = &asked.packaging {
        // Both go into events: a message itself has no place there.
        fields.handle(format_args!("{at}.packaging.code"), &packaging.code, 32);
        fields.handle(format_args!("{at}.packaging.message_ref"), &packaging.message_ref, 64);
    }
}

fn check_recipient(fields: &mut Fields, at: &str, recipient: &Recipient) {
    let kind = contract::enums::known::<contract::r#type::v1::RecipientKind>(recipient.kind);
    fields.take(format_args!("{at}.recipient.kind"), kind);
    let few = recipient.recipient_refs.len() <= MAX_RECIPIENTS;
    let most = format!("must be at most {MAX_RECIPIENTS}");
    fields.check(few, format_args!("{at}.recipient.recipient_refs"), most);
    for (i, name) in recipient.recipient_refs.iter().take(MAX_RECIPIENTS).enumerate() {
        let field = format_args!("{at}.recipient.recipient_refs[{i}]");
        fields.check(!name.is_empty(), field, "must not be empty");
        fields.handle(field, name, 64);
    }
}
