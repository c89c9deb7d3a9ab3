//! Scopes: what a version applies to, and which of two that fit is the more specific one.

use std::fmt::Write as _;

use super::{Fault, Kind};
use crate::fulfillment::method::Method;
use crate::id::{NodeId, Sku, check_text};
use crate::network;

/// The things that a scope may name, the most telling one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// The SKU.
    Sku,
    /// The category of the SKU.
    Category,
    /// The node.
    Node,
    /// A group that the node is in.
    NodeGroup,
    /// The kind of the node.
    NodeKind,
    /// The channel of the order or of the caller.
    Channel,
    /// The tier of the customer.
    Tier,
    /// The method.
    Method,
}

impl Dimension {
    /// Every dimension, the most telling one first.
    pub const ALL: [Self; 8] = [
        Self::Sku,
        Self::Category,
        Self::Node,
        Self::NodeGroup,
        Self::NodeKind,
        Self::Channel,
        Self::Tier,
        Self::Method,
    ];

    /// The name of its field on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sku => "sku",
            Self::Category => "category",
            Self::Node => "node_id",
            Self::NodeGroup => "node_group",
            Self::NodeKind => "node_kind",
            Self::Channel => "channel",
            Self::Tier => "tier",
            Self::Method => "method",
        }
    }

    /// What it adds to the rank: more than all that are less telling together.
    pub const fn bit(self) -> u8 {
        1 << (7 - self as u8)
    }

    /// Whether versions of the kind may name it.
    pub const fn is_known_to(self, kind: Kind) -> bool {
        match kind {
            Kind::Clocks | Kind::Sourcing | Kind::Scenario => !matches!(self, Self::Sku | Self::Category),
            Kind::SafetyStock | Kind::Pools => {
                matches!(self, Self::Sku | Self::Category | Self::Node | Self::NodeGroup | Self::NodeKind)
            }
            Kind::Limits => matches!(self, Self::Channel | Self::Tier),
        }
    }
}

/// What a version applies to: all that is named must fit; nothing named: everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Scope {
    /// This SKU.
    pub sku: Option<Sku>,
    /// SKUs of this category.
    pub category: Option<String>,
    /// This node.
    pub node: Option<NodeId>,
    /// Nodes of this group.
    pub group: Option<String>,
    /// Nodes of this kind.
    pub kind: Option<network::Kind>,
    /// This channel.
    pub channel: Option<String>,
    /// Customers of this tier, 1 to 9.
    pub tier: Option<u8>,
    /// This method.
    pub method: Option<Method>,
}

impl Scope {
    /// Longest category, channel or code of a group, in characters.
    pub const MAX_CODE: usize = 64;
    /// The highest tier.
    pub const MAX_TIER: u8 = 9;

    /// Whether it names a dimension.
    pub const fn names(&self, dimension: Dimension) -> bool {
        match dimension {
            Dimension::Sku => self.sku.is_some(),
            Dimension::Category => self.category.is_some(),
            Dimension::Node => self.node.is_some(),
            Dimension::NodeGroup => self.group.is_some(),
            Dimension::NodeKind => self.kind.is_some(),
            Dimension::Channel => self.channel.is_some(),
            Dimension::Tier => self.tier.is_some(),
            Dimension::Method => self.method.is_some(),
        }
    }

    /// How specific it is: of two scopes that fit, the higher rank wins. Equal ranks name the same dimensions.
    pub fn rank(&self) -> u8 {
        let named = Dimension::ALL.into_iter().filter(|dimension| self.names(*dimension));
        named.fold(0, |rank, dimension| rank | dimension.bit())
    }

    /// Its one canonical text, e.g. `node_id=lon-1&method=PICKUP`; empty for everything.
    pub fn key(&self) -> String {
        let mut key = String::new();
        for dimension in Dimension::ALL {
            let tier;
            let value = match dimension {
                Dimension::Sku => self.sku.as_ref().map(Sku::as_str),
                Dimension::Category => self.category.as_deref(),
                Dimension::Node => self.node.as_ref().map(NodeId::as_str),
                Dimension::NodeGroup => self.group.as_deref(),
                Dimension::NodeKind => self.kind.map(network::Kind::name),
                Dimension::Channel => self.channel.as_deref(),
                Dimension::Tier => {
                    tier = self.tier.map(|tier| tier.to_string());
                    tier.as_deref()
                }
                Dimension::Method => self.method.map(Method::name),
            };
            let Some(value) = value else { continue };
            if !key.is_empty() {
                key.push('&');
            }
            key.push_str(dimension.name());
            key.push('=');
            for c in value.chars() {
                match c {
                    '%' | '&' | '=' => write!(key, "%{:02X}", u32::from(c)).unwrap_or_default(),
                    _ => key.push(c),
                }
            }
        }
        key
    }

    /// What is wrong with it for versions of a kind; empty: nothing.
    pub fn check(&self, kind: Kind) -> Vec<Fault> {
        let mut faults = Vec::new();
        let field = |dimension: Dimension| format!("scope.{}", dimension.name());
        for dimension in Dimension::ALL.into_iter().filter(|dimension| self.names(*dimension)) {
            if !dimension.is_known_to(kind) {
                faults.push(Fault::new(
                    field(dimension),
                    format!("must be empty: a {kind} policy does not know it"),
                ));
            }
        }
        for (dimension, text) in [
            (Dimension::Category, &self.category),
            (Dimension::NodeGroup, &self.group),
            (Dimension::Channel, &self.channel),
        ] {
            if let Some(Err(error)) = text.as_ref().map(|text| check_text(text, Self::MAX_CODE)) {
                faults.push(Fault::new(field(dimension), error.to_string()));
            }
        }
        if self.tier.is_some_and(|tier| !(1..=Self::MAX_TIER).contains(&tier)) {
            faults.push(Fault::new(field(Dimension::Tier), "must be from 1 to 9, or 0 for any"));
        }
        faults
    }

    /// Whether it fits a thing whose node is of this kind and in these groups.
    pub fn fits(
        &self,
        asked: &Asked<'_>,
        node_kind: Option<network::Kind>,
        is_in: impl FnOnce(&str) -> bool,
    ) -> bool {
        let is = |named: Option<&str>, asked: Option<&str>| named.is_none() || named == asked;
        is(self.sku.as_ref().map(Sku::as_str), asked.sku.map(Sku::as_str))
            && is(self.category.as_deref(), asked.category)
            && is(self.node.as_ref().map(NodeId::as_str), asked.node.map(NodeId::as_str))
            && (self.kind.is_none() || self.kind == node_kind)
            && is(self.channel.as_deref(), asked.channel)
            && (self.tier.is_none() || self.tier == asked.tier)
            && (self.method.is_none() || self.method == asked.method)
            && self.group.as_deref().is_none_or(is_in)
    }
}

/// The thing that is asked about. What is not known fits only the scopes that do not name it. The kind and the groups of
/// the node are looked up in the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked<'a> {
    /// The SKU.
    pub sku: Option<&'a Sku>,
    /// Its category.
    pub category: Option<&'a str>,
    /// The node.
    pub node: Option<&'a NodeId>,
    /// The channel of the order or of the caller.
    pub channel: Option<&'a str>,
    /// The tier of the customer.
    pub tier: Option<u8>,
    /// The method.
    pub method: Option<Method>,
}
