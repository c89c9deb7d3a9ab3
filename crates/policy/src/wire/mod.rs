//! Proto to domain and back. A request is read with every bad field named; what is stored is read by the same functions.

pub mod body;

use std::collections::BTreeSet;
use std::fmt::Display;

use contract::fulfillment::v1 as pb;
use contract::r#type::v1::Window;
use domain::fulfillment::method::Method;
use domain::id::{NodeId, Sku, Uuid};
use domain::network;
use domain::policy::{Body, Group, Kind, NodeFacts, Scope, Span, Valid, Version};
use service::wire::{instant, method, method_name, timestamp};
use service::{Fault, Fields};

/// What the ids of versions begin with.
const ID_PREFIX: &str = "pol_";

/// The id of a version, as the wire has it.
pub fn shown_id(id: Uuid) -> String {
    format!("{ID_PREFIX}{id}")
}

/// The id of a version.
pub fn policy_id(text: &str) -> Result<Uuid, &'static str> {
    let uuid = text.strip_prefix(ID_PREFIX).and_then(|uuid| Uuid::try_parse(uuid).ok());
    // One text for one id: no other way to write the UUID is taken.
    uuid.filter(|uuid| shown_id(*uuid) == text).ok_or("must be pol_<uuid>")
}

/// The number of a kind.
pub fn kind_number(kind: Kind) -> i32 {
    let name = format!("POLICY_KIND_{}", kind.name());
    pb::PolicyKind::from_str_name(&name).unwrap_or(pb::PolicyKind::Unspecified).into()
}

/// The kind of a number; none: unspecified.
pub fn kind_of(number: i32) -> Result<Option<Kind>, contract::enums::Unknown> {
    let kind = contract::enums::known::<pb::PolicyKind>(number)?;
    Ok(kind.as_str_name().strip_prefix("POLICY_KIND_").and_then(Kind::parse))
}

/// The number of a kind of node.
pub fn node_kind(kind: network::Kind) -> i32 {
    let name = format!("NODE_KIND_{}", kind.name());
    pb::NodeKind::from_str_name(&name).unwrap_or(pb::NodeKind::Unspecified).into()
}

/// The kind of node of a number; none: unspecified.
pub fn node_kind_of(number: i32) -> Result<Option<network::Kind>, contract::enums::Unknown> {
    let kind = contract::enums::known::<pb::NodeKind>(number)?;
    Ok(kind.as_str_name().strip_prefix("NODE_KIND_").and_then(network::Kind::parse))
}

/// A scope, or a thing that is asked about; `at` is the path of its field.
pub fn scope(fields: &mut Fields, at: &str, asked: Option<&pb::PolicyScope>) -> Scope {
    let Some(asked) = asked else { return Scope::default() };
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let sku = given(&asked.sku).and_then(|sku| fields.take(format_args!("{at}.sku"), Sku::new(sku)));
    let node =
        given(&asked.node_id).and_then(|node| fields.take(format_args!("{at}.node_id"), NodeId::new(node)));
    let kind = fields.take(format_args!("{at}.node_kind"), node_kind_of(asked.node_kind)).flatten();
    let method = (asked.method != 0)
        .then(|| fields.take(format_args!("{at}.method"), known_method(asked.method)))
        .flatten();
    // What is no tier at all is left to the rule, which names the tiers that there are.
    let tier = (asked.tier != 0).then(|| u8::try_from(asked.tier).unwrap_or(u8::MAX));
    Scope {
        sku,
        category: given(&asked.category),
        node,
        group: given(&asked.node_group),
        kind,
        channel: given(&asked.channel),
        tier,
        method,
    }
}

/// A method that is not unspecified; it need not be offered yet.
pub(crate) fn known_method(number: i32) -> Result<Method, String> {
    contract::enums::known::<contract::r#type::v1::Method>(number).map_err(|why| why.to_string())?;
    let name = method_name(number).unwrap_or_default();
    let known = Method::ALL.iter().find(|method| method.name() == name).copied();
    known.ok_or_else(|| format!("must be a method that this version knows, not {name}"))
}

/// A scope as the wire has it.
pub fn scope_of(scope: &Scope) -> pb::PolicyScope {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    pb::PolicyScope {
        sku: text(scope.sku.as_ref().map(Sku::as_str)),
        category: text(scope.category.as_deref()),
        node_id: text(scope.node.as_ref().map(NodeId::as_str)),
        node_group: text(scope.group.as_deref()),
        node_kind: scope.kind.map_or(0, node_kind),
        channel: text(scope.channel.as_deref()),
        tier: scope.tier.map_or(0, i32::from),
        method: scope.method.map_or(0, method),
    }
}

/// What a version is made of: scope, when it may be in force, body. Every bad field is named below `at`, those of the shape
/// and those that no version may have.
pub fn draft(fields: &mut Fields, at: &str, policy: &pb::Policy) -> Option<(Scope, Valid, Body)> {
    let mut shape = Fields::default();
    let path = |field: &str| if at.is_empty() { field.to_owned() } else { format!("{at}.{field}") };
    let scope = scope(&mut shape, &path("scope"), policy.scope.as_ref());
    let valid = Valid {
        from: shape.time(path("from_time"), policy.from_time),
        until: shape.time(path("until_time"), policy.until_time),
    };
    let body = body::read(&mut shape, at, policy.body.as_ref());
    let is_well_formed = shape.is_empty();
    fields.append(shape);
    let body = body?;
    for fault in domain::policy::check(&scope, valid, &body) {
        // A body whose only field is malformed says something, though nobody can read it.
        if is_well_formed || fault.field != body.field() {
            fields.refuse(path(&fault.field), fault.must);
        }
    }
    Some((scope, valid, body))
}

/// A version that was stored or came with an event.
pub fn version(policy: &pb::Policy) -> Result<Version, Fault> {
    let unreadable = |why: &dyn Display| Fault::unreadable(format!("policy {}: {why}", policy.policy_id));
    let id = policy_id(&policy.policy_id).map_err(|why| unreadable(&why))?;
    let mut fields = Fields::default();
    let read = draft(&mut fields, "", policy);
    if let Some(bad) = fields.into_violations().first() {
        return Err(unreadable(&format_args!("{} {}", bad.field, bad.description)));
    }
    let Some((scope, mut valid, body)) = read else { return Err(unreadable(&"it has no body")) };
    if let Some(withdrawn) = policy.withdraw_time {
        let withdrawn = instant(withdrawn).map_err(|why| unreadable(&why))?;
        valid.until = Some(valid.until.map_or(withdrawn, |until| until.min(withdrawn)));
    }
    let in_force: Result<_, _> = policy.in_force.iter().map(span).collect();
    let in_force = in_force.map_err(|why| unreadable(&why))?;
    Ok(Version { id, version: policy.version, scope, valid, in_force, body })
}

fn span(window: &Window) -> Result<Span, String> {
    let from = window.start_time.ok_or_else(|| "a time in force without a start".to_owned())?;
    Ok(Span {
        from: instant(from).map_err(|why| why.to_string())?,
        until: window.end_time.map(instant).transpose().map_err(|why| why.to_string())?,
    })
}

/// Times in force as the wire has them, the last `most`.
pub fn windows(spans: &[Span], most: usize) -> Vec<Window> {
    let window =
        |span: &Span| Window { start_time: Some(timestamp(span.from)), end_time: span.until.map(timestamp) };
    spans[spans.len().saturating_sub(most)..].iter().map(window).collect()
}

/// A group of nodes that was stored or came with an event.
pub fn group(group: &pb::NodeGroup) -> Result<Group, Fault> {
    let nodes: Result<_, _> = group.node_ids.iter().map(|node| NodeId::new(node.as_str())).collect();
    let nodes = nodes.map_err(|why| Fault::unreadable(format!("node group {}: {why}", group.node_group)))?;
    Ok(Group { code: group.node_group.clone(), nodes, tags: group.tags.iter().cloned().collect() })
}

/// What policies ask about a node.
pub fn node(changed: &pb::NodeChanged) -> Result<(NodeId, NodeFacts), String> {
    let node = NodeId::new(changed.node_id.as_str()).map_err(|why| why.to_string())?;
    let kind = node_kind_of(changed.kind).map_err(|why| why.to_string())?;
    let kind = kind.ok_or_else(|| format!("node {node} has no kind"))?;
    let tags: BTreeSet<String> = changed.tags.iter().cloned().collect();
    Ok((node, NodeFacts { kind, tags }))
}
