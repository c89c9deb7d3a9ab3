//! Groups of nodes, which policies name.

use contract::fulfillment::v1 as pb;
use db::Tx;
use domain::policy::Group;
use domain::time::Timestamp;
use policy::groups::Stored;
use policy::{event, groups, nodes, policies, wire as shared};
use service::wire::timestamp;
use service::{Call, Turn};

use crate::Fulfillment;
use crate::error::Error;
use crate::policy::ambiguity::{Named, all_nodes, pair};
use crate::policy::refusal::Refusal;
use crate::store::policy as store;
use crate::wire::{fitting, network::etag};

/// The most groups.
const MOST_GROUPS: i64 = 1_000;

impl Fulfillment {
    /// Creates or replaces a group.
    pub(crate) async fn put_node_group(
        &self,
        call: &Call,
        group: &pb::NodeGroup,
    ) -> Result<pb::PutNodeGroupResponse, Error> {
        let reply = db::retry(3, Error::is_retry, || self.put_group_once(call, group)).await?;
        self.learn_policies().await;
        Ok(reply)
    }

    async fn put_group_once(
        &self,
        call: &Call,
        asked: &pb::NodeGroup,
    ) -> Result<pb::PutNodeGroupResponse, Error> {
        let now = self.clock.business();
        let mut tx = match call.begin(&self.db, now).await? {
            Turn::New(tx) => tx,
            Turn::Answered(reply) => return Ok(reply),
        };
        store::lock(&mut tx).await?;
        let before = groups::get(&mut tx, &asked.node_group).await?;
        let is_new = before.as_ref().is_none_or(|before| before.group.is_none());
        let sequence = before.map_or(0, |before| before.sequence);
        if !asked.etag.is_empty() && (is_new || asked.etag != etag(sequence)) {
            return Err(Refusal::GroupChanged(asked.node_group.clone()).into());
        }
        if is_new && groups::count(&mut tx).await? >= MOST_GROUPS {
            return Err(Refusal::GroupsFull(MOST_GROUPS).into());
        }
        must_be_clear(&mut tx, shared::group(asked)?, now).await?;
        let sequence = sequence + 1;
        let group =
            pb::NodeGroup { etag: etag(sequence), update_time: Some(timestamp(now)), ..asked.clone() };
        let code = group.node_group.clone();
        write(&mut tx, call, &Stored { code, group: Some(group.clone()), sequence }, now).await?;
        let reply = pb::PutNodeGroupResponse { group: Some(group) };
        call.finish(tx, &reply).await?;
        Ok(reply)
    }

    /// A group, with the nodes that are in it, in code order.
    pub(crate) async fn get_node_group(&self, code: &str) -> Result<pb::GetNodeGroupResponse, Error> {
        let mut tx = self.db.read().await?;
        let stored = groups::get(&mut tx, code).await?;
        let Some(group) = stored.and_then(|stored| stored.group) else {
            return Err(Refusal::GroupNotFound(code.to_owned()).into());
        };
        let member_ids = members(&mut tx, &shared::group(&group)?).await?;
        tx.commit().await?;
        Ok(pb::GetNodeGroupResponse { group: Some(group), member_ids })
    }

    /// Groups after a code, and the code to go on from; empty: the list is at its end.
    pub(crate) async fn list_node_groups(
        &self,
        after: &str,
        size: i64,
    ) -> Result<(Vec<pb::NodeGroup>, String), Error> {
        let mut tx = self.db.read().await?;
        let found = groups::page(&mut tx, after, size + 1).await?;
        tx.commit().await?;
        let (there, most) = (found.len(), usize::try_from(size).unwrap_or(1));
        let page = fitting(found.into_iter().filter_map(|stored| stored.group).take(most));
        let next = page.last().filter(|_| page.len() < there).map(|last| last.node_group.clone());
        Ok((page, next.unwrap_or_default()))
    }

    /// Deletes a group that no version names which may still apply.
    pub(crate) async fn delete_node_group(
        &self,
        call: &Call,
        code: &str,
    ) -> Result<pb::DeleteNodeGroupResponse, Error> {
        let reply = db::retry(3, Error::is_retry, || self.delete_group_once(call, code)).await?;
        self.learn_policies().await;
        Ok(reply)
    }

    async fn delete_group_once(&self, call: &Call, code: &str) -> Result<pb::DeleteNodeGroupResponse, Error> {
        let now = self.clock.business();
        let mut tx = match call.begin(&self.db, now).await? {
            Turn::New(tx) => tx,
            Turn::Answered(reply) => return Ok(reply),
        };
        store::lock(&mut tx).await?;
        let before = groups::get(&mut tx, code).await?.filter(|before| before.group.is_some());
        let Some(before) = before else { return Err(Refusal::GroupNotFound(code.to_owned()).into()) };
        if let Some(user) = policies::newest_of_group(&mut tx, code, now).await? {
            let (version, policy_id) = (user.policy.version, user.policy.policy_id);
            return Err(Refusal::GroupInUse { group: code.to_owned(), version, policy_id }.into());
        }
        let gone = Stored { code: before.code, group: None, sequence: before.sequence + 1 };
        write(&mut tx, call, &gone, now).await?;
        let reply = pb::DeleteNodeGroupResponse {};
        call.finish(tx, &reply).await?;
        Ok(reply)
    }
}

/// Refuses members with which two versions of equal rank would fit one node.
async fn must_be_clear(tx: &mut Tx, group: Group, now: Timestamp) -> Result<(), Error> {
    let mut named = Named::read(tx, Some(&group.code), now).await?;
    if !named.names(&group.code) || !named.may_meet() {
        return Ok(());
    }
    named.set(group.clone());
    let book = named.book(all_nodes(tx).await?);
    match pair(&book, &group, now) {
        Some(met) => Err(Refusal::Ambiguous(Box::new(met)).into()),
        None => Ok(()),
    }
}

/// Writes a group and appends its event; the lock is held.
async fn write(tx: &mut Tx, call: &Call, stored: &Stored, now: Timestamp) -> Result<(), Error> {
    if !groups::put(tx, stored).await? {
        return Err(Error::corrupt(format!("the sequence of node group {}", stored.code)));
    }
    let event = event::group_changed(stored, call.who.actor(), now);
    Ok(bus::outbox::append(tx, &[event]).await?)
}

/// The nodes that are in a group, in code order.
async fn members(tx: &mut Tx, group: &Group) -> Result<Vec<String>, Error> {
    let mut members: Vec<String> = Vec::new();
    if group.tags.is_empty() {
        let there = nodes::many(tx, group.nodes.iter().map(domain::id::NodeId::as_str)).await?;
        members.extend(there.into_iter().map(|stored| stored.node.to_string()));
        members.sort_unstable();
        return Ok(members);
    }
    let all = all_nodes(tx).await?.into_iter();
    let its = all.filter(|(node, facts)| group.has(node, &facts.tags));
    members.extend(its.map(|(node, _)| node.to_string()));
    Ok(members)
}
