//! What applies to a thing, field by field: the version that wins, and those that lose.

use std::sync::Arc;

use contract::fulfillment::v1 as pb;
use db::Tx;
use domain::policy::{Asked, Book, Explained, Kind, Origin, Scope, Version};
use domain::time::Timestamp;
use policy::{groups, policies, wire};

use super::ambiguity::all_nodes;
use super::change::MOST_TIMES;
use super::command::Explain;
use super::settings;
use crate::Fulfillment;
use crate::error::Error;

/// Versions read at once, and the most that a look into the past reads.
const PAGE: i64 = 1_000;
const MOST_OF_THE_PAST: usize = 20_000;
/// Groups read at once.
const GROUPS: i64 = 50;

impl Fulfillment {
    /// What applies to a thing at an instant. Now and later the book answers that this process works by.
    pub(crate) async fn explain_policy(&self, asked: &Explain) -> Result<pb::ExplainPolicyResponse, Error> {
        let now = self.clock.business();
        let at = asked.at.unwrap_or(now);
        let mut book = if at < now { self.book_of(asked.kind, at).await? } else { self.policies.book() };
        let Scope { sku, category, node, channel, tier, method, .. } = &asked.target;
        if let Some(node) = node.as_ref().filter(|node| book.node_kind(node).is_none()) {
            // It may be newer than the book.
            self.policies.refresh().await?;
            book = self.policies.book();
            if at < now || book.node_kind(node).is_none() {
                return Err(Error::NodeNotFound(node.to_string()));
            }
        }
        let thing = Asked {
            sku: sku.as_ref(),
            category: category.as_deref(),
            node: node.as_ref(),
            channel: channel.as_deref(),
            tier: *tier,
            method: *method,
        };
        let explained = book.explain(asked.kind, &thing, at);
        self.explained(asked, explained).await
    }

    async fn explained(
        &self,
        asked: &Explain,
        explained: Explained,
    ) -> Result<pb::ExplainPolicyResponse, Error> {
        let effective = settings::beneath(&self.config, explained.body);
        let effective = pb::Policy {
            scope: Some(wire::scope_of(&asked.target)),
            body: Some(wire::body::shown_body(&effective)),
            ..pb::Policy::default()
        };
        let ids = explained.candidates.iter().map(|version| version.id);
        let mut tx = self.db.read().await?;
        let stored = policies::many(&mut tx, ids).await?;
        tx.commit().await?;
        let candidate = |version: &Arc<Version>| {
            let shown = wire::shown_id(version.id);
            let stored = stored.iter().find(|stored| stored.policy.policy_id == shown)?;
            // Its times as the book has them, which decided.
            let in_force = wire::windows(&version.in_force, MOST_TIMES);
            Some(pb::Policy { in_force, ..stored.policy.clone() })
        };
        Ok(pb::ExplainPolicyResponse {
            effective: Some(effective),
            origins: explained.origins.iter().map(origin).collect(),
            candidates: explained.candidates.iter().filter_map(candidate).collect(),
        })
    }

    /// A book of the versions that applied at an instant of the past or later. Groups and nodes are those of now.
    async fn book_of(&self, kind: Kind, at: Timestamp) -> Result<Arc<Book>, Error> {
        let mut tx = self.db.read().await?;
        let mut versions: Vec<Arc<Version>> = Vec::new();
        loop {
            let before = versions.last().map_or(i64::MAX, |version| version.version);
            let page = policies::page(&mut tx, Some(kind), Some(at), before, PAGE).await?;
            if page.is_empty() {
                break;
            }
            for stored in page {
                versions.push(Arc::new(stored.version()?));
            }
            if versions.len() > MOST_OF_THE_PAST {
                let why = format!("must be later: more than {MOST_OF_THE_PAST} versions came since");
                return Err(Error::field("at_time", why));
            }
        }
        let groups = all_groups(&mut tx).await?;
        let nodes = all_nodes(&mut tx).await?;
        tx.commit().await?;
        Ok(Arc::new(Book::new(versions, groups, nodes)))
    }
}

async fn all_groups(tx: &mut Tx) -> Result<Vec<domain::policy::Group>, Error> {
    let mut all: Vec<domain::policy::Group> = Vec::new();
    loop {
        let after = all.last().map_or_else(String::new, |group| group.code.clone());
        let page = groups::page(tx, &after, GROUPS).await?;
        if page.is_empty() {
            return Ok(all);
        }
        for stored in page.iter().filter_map(|stored| stored.group.as_ref()) {
            all.push(wire::group(stored)?);
        }
    }
}

fn origin(origin: &Origin) -> pb::PolicyOrigin {
    pb::PolicyOrigin {
        field: origin.field.clone(),
        policy_id: origin.policy.map(wire::shown_id).unwrap_or_default(),
        version: origin.version,
        loser_ids: origin.losers.iter().map(|id| wire::shown_id(*id)).collect(),
    }
}
