//! Requests about policies and groups of nodes.

use std::collections::BTreeSet;

use contract::fulfillment::v1 as pb;
use domain::id::{NodeId, check_text};
use domain::name::check_name;
use domain::network::Tag;
use domain::policy::Scope;
use domain::policy::scope::Dimension;
use policy::wire as shared;
use service::token::{page, seal, strange_page};
use service::{Fault, Fields};

use crate::policy::command::{Activate, Draft, Explain, List, RollBack, Withdraw};

/// The longest reason.
const MOST_REASON: usize = 500;
/// The most nodes that a group lists, and how long their codes may be together: its event stays below 256 KiB.
const MOST_MEMBERS: usize = 2_000;
const MOST_MEMBER_BYTES: usize = 200_000;
/// The most tags of a group.
const MOST_TAGS: usize = 10;

/// A new version.
pub(crate) fn put(asked: &pb::PutPolicyRequest) -> Result<Draft, Fault> {
    let mut fields = Fields::default();
    let Some(policy) = fields.required("policy", asked.policy.as_ref()) else {
        return fields.finish(None);
    };
    let reason = fields.text("policy.reason", &policy.reason, MOST_REASON);
    let read = shared::draft(&mut fields, "policy", policy);
    fields.finish(read.map(|(scope, valid, body)| Draft { scope, valid, body, reason }))
}

/// A version to put in force.
pub(crate) fn activate(asked: &pb::ActivatePolicyRequest) -> Result<Activate, Fault> {
    let mut fields = Fields::default();
    let id = fields.take("policy_id", shared::policy_id(&asked.policy_id));
    let from = fields.time("from_time", asked.from_time);
    let until = fields.time("until_time", asked.until_time);
    if let (Some(from), Some(until)) = (from, until) {
        fields.check(from < until, "until_time", "must be later than from_time");
    }
    fields.finish(id.map(|id| Activate { id, from, until }))
}

/// A scope whose version ends.
pub(crate) fn roll_back(asked: &pb::RollBackPolicyRequest) -> Result<RollBack, Fault> {
    let mut fields = Fields::default();
    let kind = kind(&mut fields, asked.kind);
    let scope = shared::scope(&mut fields, "scope", asked.scope.as_ref());
    let reason = fields.text("reason", &asked.reason, MOST_REASON);
    if let Some(kind) = kind {
        check_scope(&mut fields, &scope, kind);
    }
    fields.finish(kind.map(|kind| RollBack { kind, scope, reason }))
}

/// A version that is taken back.
pub(crate) fn withdraw(asked: &pb::WithdrawPolicyRequest) -> Result<Withdraw, Fault> {
    let mut fields = Fields::default();
    let id = fields.take("policy_id", shared::policy_id(&asked.policy_id));
    let reason = fields.text("reason", &asked.reason, MOST_REASON);
    fields.finish(id.map(|id| Withdraw { id, reason }))
}

/// Names what no scope of the kind may have.
fn check_scope(fields: &mut Fields, scope: &Scope, kind: domain::policy::Kind) {
    for fault in scope.check(kind) {
        fields.refuse(fault.field, fault.must);
    }
}

fn kind(fields: &mut Fields, number: i32) -> Option<domain::policy::Kind> {
    let read = shared::kind_of(number).map_err(|why| why.to_string());
    fields.take("kind", read.and_then(|kind| kind.ok_or_else(|| "is required".to_owned())))
}

/// A page of versions.
pub(crate) fn list(asked: &pb::ListPoliciesRequest) -> Result<List, Fault> {
    let mut fields = Fields::default();
    let kind = fields.take("kind", shared::kind_of(asked.kind));
    let size = fields.page_size(asked.page_size, 100, 500);
    let size = usize::try_from(size).unwrap_or(1);
    let read = |kind| {
        let token = page(list_context(asked), &asked.page_token)?;
        let before = match token {
            None => i64::MAX,
            Some(token) => i64::from_be_bytes(token.try_into().map_err(|_| strange_page())?),
        };
        Ok(List { kind, only_in_force: asked.only_in_force, before, size })
    };
    let list = match kind.map(read) {
        Some(Ok(list)) => Some(list),
        Some(Err(Fault::Invalid(bad))) => {
            for bad in bad {
                fields.refuse(bad.field, bad.description);
            }
            None
        }
        Some(Err(fault)) => return Err(fault),
        None => None,
    };
    fields.finish(list)
}

/// The token from which a list goes on before this number; empty at its end.
pub(crate) fn list_token(asked: &pb::ListPoliciesRequest, before: i64) -> String {
    if before == 0 { String::new() } else { seal(list_context(asked), before.to_be_bytes()) }
}

fn list_context(asked: &pb::ListPoliciesRequest) -> String {
    format!("policies {} {}", asked.kind, asked.only_in_force)
}

/// A thing of which is asked what applies to it.
pub(crate) fn explain(asked: &pb::ExplainPolicyRequest) -> Result<Explain, Fault> {
    let mut fields = Fields::default();
    let kind = kind(&mut fields, asked.kind);
    let target = shared::scope(&mut fields, "target", asked.target.as_ref());
    let looked_up = "must be empty: it is looked up for node_id";
    fields.check(!target.names(Dimension::NodeGroup), "target.node_group", looked_up);
    fields.check(!target.names(Dimension::NodeKind), "target.node_kind", looked_up);
    for (field, text) in [("target.category", &target.category), ("target.channel", &target.channel)] {
        if let Some(text) = text {
            fields.take(field, check_text(text, Scope::MAX_CODE));
        }
    }
    let is_tier = target.tier.is_none_or(|tier| (1..=Scope::MAX_TIER).contains(&tier));
    fields.check(is_tier, "target.tier", "must be from 1 to 9, or 0 for none");
    let at = fields.time("at_time", asked.at_time);
    fields.finish(kind.map(|kind| Explain { kind, target, at }))
}

/// A group of a request, without what is output only.
pub(crate) fn group(asked: Option<pb::NodeGroup>) -> Result<pb::NodeGroup, Fault> {
    let mut fields = Fields::default();
    let Some(group) = fields.required("group", asked) else { return fields.finish(None) };
    fields.take("group.node_group", check_text(&group.node_group, Scope::MAX_CODE));
    fields.take("group.name", check_name(&group.name, 200));
    fields.at_most("group.node_ids", group.node_ids.len(), MOST_MEMBERS);
    let bytes: usize = group.node_ids.iter().map(String::len).sum();
    fields.check(
        bytes <= MOST_MEMBER_BYTES,
        "group.node_ids",
        format_args!("must have at most {MOST_MEMBER_BYTES} bytes together, has {bytes}"),
    );
    let mut seen = BTreeSet::new();
    for (i, node) in group.node_ids.iter().take(MOST_MEMBERS).enumerate() {
        fields.take(format_args!("group.node_ids[{i}]"), NodeId::new(node.as_str()));
        fields.check(seen.insert(node), format_args!("group.node_ids[{i}]"), "duplicate");
    }
    fields.at_most("group.tags", group.tags.len(), MOST_TAGS);
    fields.distinct::<Tag>("group.tags", &group.tags, MOST_TAGS);
    fields.finish(Some(pb::NodeGroup { update_time: None, ..group }))
}

/// The code of a group.
pub(crate) fn group_code(code: &str) -> Result<(), Fault> {
    let mut fields = Fields::default();
    fields.take("node_group", check_text(code, Scope::MAX_CODE));
    fields.done()
}

/// The token from which the list of groups goes on after this one; empty at its end.
pub(crate) fn groups_token(after: &str) -> String {
    if after.is_empty() { String::new() } else { seal("node groups", after) }
}

/// The group after which a page begins.
pub(crate) fn groups_after(token: &str) -> Result<String, Fault> {
    let after = page("node groups", token)?.unwrap_or_default();
    String::from_utf8(after).map_err(|_| strange_page())
}
