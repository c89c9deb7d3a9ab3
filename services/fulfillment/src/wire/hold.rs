//! A cart that is to be held, with its groups.

use std::collections::HashMap;

use contract::fulfillment::v1 as pb;
use contract::r#type::v1 as common;
use domain::fulfillment::method::MethodError;
use domain::id::{FulfillmentId, NodeId};
use domain::quantity::Quantity;
use jiff::SignedDuration;
use server::Principal;
use service::Fields;

use super::promise::{channel, lines, wanted, without};
use super::{duration, method, optional_node, place};
use crate::error::Error;
use crate::promise::command::{Group, HoldCommand, Limits, Line};

/// The most groups of a cart.
const MOST_GROUPS: usize = 20;

/// The most legs of a hold, and the most that it takes the place of.
const MOST_LEGS: usize = 50;

/// The most nodes that may share a group.
const MOST_PARTS: usize = 5;

/// Farther than any two places on earth, in metres.
const MOST_RADIUS_M: u32 = 20_100_000;

/// The most lines of all groups of a cart.
const MOST_LINES_TOGETHER: usize = 2_000;

/// What a caller asks to be held.
pub(crate) fn hold(request: &pb::HoldPromiseRequest) -> Result<HoldCommand, Error> {
    let mut fields = Fields::default();
    for group in &request.groups {
        if let Err(MethodError::NotOffered(name)) = method(group.method) {
            return Err(Error::MethodNotOffered(name.to_owned()));
        }
    }
    let cart = lines(&request.lines, &mut fields);
    fields.count("groups", request.groups.len(), MOST_GROUPS);
    let many: usize = request.groups.iter().map(|group| group.lines.len()).sum();
    let is_too_much = many > MOST_LINES_TOGETHER;
    let why = format_args!("must have at most {MOST_LINES_TOGETHER} lines together, has {many}");
    fields.check(!is_too_much, "groups", why);
    let most = if is_too_much || request.groups.len() > MOST_GROUPS { 0 } else { MOST_GROUPS };
    let mut groups: Vec<Group> = Vec::with_capacity(request.groups.len().min(most));
    let is_only = request.groups.len() == 1;
    for (index, group) in request.groups.iter().take(most).enumerate() {
        let is_new = groups.iter().all(|other| other.number != group.group);
        fields.check(group.group > 0, format_args!("groups[{index}].group"), "must be at least 1");
        fields.check(is_new, format_args!("groups[{index}].group"), "duplicate");
        groups.extend(self::group(&mut fields, index, group, &cart, is_only));
    }
    let legs: usize = groups.iter().map(|group| group.parts).sum();
    let why = format_args!("must have at most {MOST_LEGS} parts together, has {legs}");
    fields.check(legs <= MOST_LEGS, "groups", why);
    let ttl = request.ttl.and_then(|ttl| fields.take("ttl", duration(ttl)));
    if ttl.is_some_and(|ttl| ttl < SignedDuration::from_secs(1)) {
        fields.refuse("ttl", "must be at least 1 s");
    }
    fields.at_most("instead_of", request.instead_of.len(), MOST_LEGS);
    let instead_of = fields.distinct::<FulfillmentId>("instead_of", &request.instead_of, MOST_LEGS);
    let on_behalf_of = match request.on_behalf_of.as_str() {
        "" => None,
        holder => fields.take("on_behalf_of", Principal::parse(holder)),
    };
    let channel = channel(&mut fields, &request.channel);
    fields.done()?;
    spread_without_rest(&cart, &groups)?;
    Ok(HoldCommand { cart, groups, ttl, instead_of, on_behalf_of, channel })
}

fn group(
    fields: &mut Fields,
    index: usize,
    group: &pb::CartGroup,
    cart: &[Line],
    is_only: bool,
) -> Option<Group> {
    let wanted_method = fields.take(format_args!("groups[{index}].method"), method(group.method));
    let node = optional_node(fields, format_args!("groups[{index}].node_id"), &group.node_id);
    let place =
        group.place.and_then(|given| fields.take(format_args!("groups[{index}].place"), place(given)));
    let wanted = group
        .wanted_window
        .and_then(|window| fields.take(format_args!("groups[{index}].wanted_window"), wanted(window, false)));
    let limits = limits(fields, index, group, node.as_ref());
    let max_parts = format_args!("groups[{index}].max_parts");
    let parts = usize::try_from(group.max_parts).ok().filter(|parts| *parts <= MOST_PARTS);
    fields.check(parts.is_some(), max_parts, format_args!("must be from 0 to {MOST_PARTS}"));
    let parts = parts.unwrap_or(1).max(1);
    fields.check(parts == 1 || node.is_none(), max_parts, "must be 0 or 1 when node_id is given");
    let lines = if group.lines.is_empty() && is_only {
        cart.to_vec()
    } else {
        pieces(fields, index, &group.lines, cart)
    };
    let (number, method) = (group.group, wanted_method?);
    Some(Group { number, method, node, place, wanted, limits, parts, lines })
}

/// Which nodes may serve a group.
fn limits(fields: &mut Fields, index: usize, group: &pb::CartGroup, node: Option<&NodeId>) -> Limits {
    let field = format_args!("groups[{index}].without_node_ids");
    let without = without(fields, field, &group.without_node_ids, node);
    let near = optional_node(fields, format_args!("groups[{index}].near_node_id"), &group.near_node_id);
    let field = format_args!("groups[{index}].radius_m");
    let radius_m = u32::try_from(group.radius_m).ok().filter(|radius| *radius <= MOST_RADIUS_M);
    let why = format_args!("must be from 0 (any distance) to {MOST_RADIUS_M}");
    fields.check(radius_m.is_some(), field, why);
    let is_alone = group.radius_m != 0 && group.near_node_id.is_empty();
    fields.check(!is_alone, field, "is only for a group with near_node_id");
    Limits { without, near, radius_m: radius_m.filter(|radius| *radius > 0).map(f64::from) }
}

/// The pieces of a group, each line of the cart at most once.
fn pieces(fields: &mut Fields, index: usize, asked: &[common::LineQuantity], cart: &[Line]) -> Vec<Line> {
    if asked.is_empty() {
        fields.refuse(format_args!("groups[{index}].lines"), "must name at least one");
    }
    let by_number: HashMap<u32, &Line> = cart.iter().map(|line| (line.number, line)).collect();
    let mut seen = std::collections::HashSet::with_capacity(asked.len());
    let mut lines = Vec::with_capacity(asked.len());
    for (i, pieces) in asked.iter().enumerate() {
        let field = format_args!("groups[{index}].lines[{i}]");
        fields.check(seen.insert(pieces.line), format_args!("{field}.line"), "duplicate");
        let known = by_number.get(&pieces.line);
        fields.check(known.is_some(), format_args!("{field}.line"), "is not a line of the cart");
        let quantity = fields.take(format_args!("{field}.quantity"), Quantity::new(pieces.quantity));
        if let (Some(line), Some(quantity)) = (known, quantity) {
            lines.push(Line { number: line.number, sku: line.sku.clone(), quantity: quantity.get() });
        }
    }
    lines
}

/// The groups of a cart have all of its pieces together, no more and no less.
fn spread_without_rest(cart: &[Line], groups: &[Group]) -> Result<(), Error> {
    let mut spread: HashMap<u32, i64> = HashMap::with_capacity(cart.len());
    for line in groups.iter().flat_map(|group| &group.lines) {
        let sum = spread.entry(line.number).or_insert(0);
        *sum = sum.saturating_add(line.quantity);
    }
    let mut fields = Fields::default();
    for (index, line) in cart.iter().enumerate() {
        let sum = spread.get(&line.number).copied().unwrap_or(0);
        let why = format_args!("the groups have {sum} of its {} pieces together", line.quantity);
        fields.check(sum == line.quantity, format_args!("lines[{index}].quantity"), why);
    }
    Ok(fields.done()?)
}
