//! The plan of a promise of several groups: all of them or none, and each sees what the ones before it take.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Refused;

/// What kind of thing has capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum ResourceKind {
    /// A node.
    #[default]
    Node,
    /// A delivery zone.
    Zone,
    /// A pool of couriers.
    Couriers,
    /// People who can do something.
    Skill,
}

impl ResourceKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Node, Self::Zone, Self::Couriers, Self::Skill];

    /// Its name in SQL and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "NODE",
            Self::Zone => "ZONE",
            Self::Couriers => "COURIERS",
            Self::Skill => "SKILL",
        }
    }

    /// The kind with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Capacity that a leg takes: an amount in one slot of one resource, for one kind of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Of what kind of thing.
    pub kind: ResourceKind,
    /// Its code.
    pub resource: String,
    /// For what.
    pub work: String,
    /// Start of the slot.
    pub start: Timestamp,
    /// How much, at least 1.
    pub amount: i64,
}

/// What the earlier legs of a plan take.
#[derive(Debug, Clone, Default)]
pub struct Taken(BTreeMap<(ResourceKind, String, String, Timestamp), i64>);

impl Taken {
    /// How much of a slot of a node they take.
    pub fn at_node(&self, node: &str, work: &str, start: Timestamp) -> i64 {
        let slot = (ResourceKind::Node, node.to_owned(), work.to_owned(), start);
        if self.0.is_empty() { 0 } else { self.0.get(&slot).copied().unwrap_or(0) }
    }

    fn add(&mut self, place: &Place) {
        let slot = (place.kind, place.resource.clone(), place.work.clone(), place.start);
        *self.0.entry(slot).or_insert(0) += place.amount;
    }
}

/// A leg as planned, with the capacity that it takes.
pub type WithPlaces<L> = (L, Vec<Place>);

/// The legs of a plan, each with the index of its group.
pub type Legs<L> = Vec<(usize, WithPlaces<L>)>;

/// Plans groups in their order; `serve` plans one and names its legs with the places that they take. Each leg comes with the
/// index of its group. The first group that cannot be served, by its index, refuses the whole plan.
pub fn plan<G, L>(
    groups: &[G],
    mut serve: impl FnMut(usize, &G, &Taken) -> Result<Vec<WithPlaces<L>>, Refused>,
) -> Result<Legs<L>, (usize, Refused)> {
    let mut taken = Taken::default();
    let mut legs = Vec::with_capacity(groups.len());
    for (index, group) in groups.iter().enumerate() {
        for leg in serve(index, group, &taken).map_err(|refused| (index, refused))? {
            leg.1.iter().for_each(|place| taken.add(place));
            legs.push((index, leg));
        }
    }
    Ok(legs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promise::Reason;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + hour * 3_600).unwrap()
    }

    fn place(node: &str, hour: i64) -> Place {
        let (resource, work) = (node.to_owned(), "PICK".to_owned());
        Place { kind: ResourceKind::Node, resource, work, start: at(hour), amount: 1 }
    }

    /// Serves a group at its node in the first of the slots that has room for one more of `room`.
    fn first_free(
        node: &str,
        taken: &Taken,
        room: i64,
        slots: i64,
    ) -> Result<Vec<(i64, Vec<Place>)>, Refused> {
        let free = (0..slots).find(|hour| taken.at_node(node, "PICK", at(*hour)) < room);
        let hour = free.ok_or_else(|| Refused::because(Reason::CapacityFull))?;
        Ok(vec![(hour, vec![place(node, hour)])])
    }

    #[test]
    fn a_later_group_sees_what_an_earlier_one_takes() {
        let groups = ["a", "b", "a"];
        let legs = plan(&groups, |_, node, taken| first_free(node, taken, 1, 2)).unwrap();
        assert_eq!(legs.iter().map(|(_, (hour, _))| *hour).collect::<Vec<_>>(), [0, 0, 1]);
        assert_eq!((legs[2].0, &legs[2].1.1), (2, &vec![place("a", 1)]));
    }

    #[test]
    fn one_place_left_for_two_groups_refuses_the_whole_plan_and_names_the_group() {
        let groups = ["b", "a", "a"];
        let refused = plan(&groups, |_, node, taken| first_free(node, taken, 1, 1)).unwrap_err();
        assert_eq!(refused, (2, Refused::because(Reason::CapacityFull)));
    }

    #[test]
    fn every_kind_of_resource_has_a_name_of_its_own() {
        for kind in ResourceKind::ALL {
            assert_eq!(ResourceKind::named(kind.name()), Some(kind));
        }
        assert_eq!(ResourceKind::named("ROOM"), None);
    }
}
