//! Why a change of policies or groups of nodes is refused.

use domain::id::NodeId;
use domain::policy::{Kind, Version, in_force};
use policy::policies::MOST_OF_KIND;

use crate::error::reason;

/// Named by what the caller can do about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// No such version.
    #[error("policy {0} does not exist")]
    NotFound(String),
    /// Another version of equal rank applies to the same thing.
    #[error(transparent)]
    Ambiguous(Box<Ambiguous>),
    /// Too many versions.
    #[error(
        "{MOST_OF_KIND} versions of the kind {0} may still apply; put versions with until_time, or withdraw some that are not needed"
    )]
    Full(Kind),
    /// A version would be in force too often.
    #[error(
        "version {version} would have more than {most} times in force ahead; withdraw one of its scope, or put another version"
    )]
    TooManyTimes {
        /// Its number.
        version: i64,
        /// The most.
        most: usize,
    },
    /// The activations do not allow it.
    #[error(transparent)]
    Time(#[from] in_force::Refusal),
    /// No such group.
    #[error("node group {0} does not exist")]
    GroupNotFound(String),
    /// The group was changed since the caller read it.
    #[error("node group {0} changed meanwhile, read it again")]
    GroupChanged(String),
    /// Versions name the group.
    #[error(
        "version {version} ({policy_id}) names the node group {group} and may still apply; withdraw it, or wait until it is over"
    )]
    GroupInUse {
        /// The group.
        group: String,
        /// Number of a version that names it.
        version: i64,
        /// Its id.
        policy_id: String,
    },
    /// Too many groups.
    #[error("there are {0} node groups, which is the most; delete one that no policy names")]
    GroupsFull(i64),
}

/// Two versions that fit one thing with equal rank.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "version {version} ({policy_id}) has an equal rank, and its node group {group} and {} have a node in common{}; \
     name another group or more of the thing in one of the scopes, or change the groups",
    .other_group.as_deref().unwrap_or("this one"),
    .node.as_ref().map_or_else(String::new, |node| format!(", {node}"))
)]
pub struct Ambiguous {
    /// Number of the version that is there already.
    pub version: i64,
    /// Its id.
    pub policy_id: String,
    /// The group that it names.
    pub group: String,
    /// The group of the other version, where that is there already too.
    pub other_group: Option<String>,
    /// The node that both groups would have, where it is one that changes.
    pub node: Option<NodeId>,
}

impl Ambiguous {
    /// The version that a new one meets.
    pub(crate) fn with(other: &Version) -> Self {
        Self {
            version: other.version,
            policy_id: policy::wire::shown_id(other.id),
            group: other.scope.group.clone().unwrap_or_default(),
            other_group: None,
            node: None,
        }
    }
}

impl Refusal {
    /// The reason that callers get; none: a field of the request is at fault.
    pub(crate) fn reason(&self) -> server::Reason {
        match self {
            Self::NotFound(_) => reason::POLICY_NOT_FOUND,
            Self::Ambiguous(_) => reason::POLICY_AMBIGUOUS,
            Self::Full(_) | Self::TooManyTimes { .. } | Self::Time(in_force::Refusal::TooMany) => {
                reason::POLICIES_FULL
            }
            Self::Time(in_force::Refusal::NotInForce { .. }) => reason::POLICY_NOT_IN_FORCE,
            Self::Time(in_force::Refusal::AlreadyInForce) => reason::POLICY_IN_FORCE,
            // The others name a field, and are answered as one.
            Self::Time(_) => reason::POLICY_OVER,
            Self::GroupNotFound(_) => reason::GROUP_NOT_FOUND,
            Self::GroupChanged(_) => reason::GROUP_CHANGED,
            Self::GroupInUse { .. } => reason::GROUP_IN_USE,
            Self::GroupsFull(_) => reason::GROUPS_FULL,
        }
    }

    /// What callers get beside the text.
    pub(crate) fn facts(&self) -> Vec<(String, String)> {
        let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        match self {
            Self::NotFound(id) => vec![fact("policy_id", id)],
            Self::Ambiguous(with) => {
                let mut facts = vec![
                    fact("policy_id", &with.policy_id),
                    fact("version", &with.version.to_string()),
                    fact("node_group", &with.group),
                ];
                facts.extend(with.node.iter().map(|node| fact("node_id", node.as_str())));
                facts
            }
            Self::Full(kind) => vec![fact("kind", kind.name()), fact("limit", &MOST_OF_KIND.to_string())],
            Self::TooManyTimes { version, most } => {
                vec![fact("version", &version.to_string()), fact("limit", &most.to_string())]
            }
            Self::Time(_) => Vec::new(),
            Self::GroupNotFound(group) | Self::GroupChanged(group) => vec![fact("node_group", group)],
            Self::GroupInUse { group, version, policy_id } => vec![
                fact("node_group", group),
                fact("policy_id", policy_id),
                fact("version", &version.to_string()),
            ],
            Self::GroupsFull(most) => vec![fact("limit", &most.to_string())],
        }
    }
}
