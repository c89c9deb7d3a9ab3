//! The network: the places that hold stock or hand goods over, and when and how much they work.
//!
//! Always true: a node's answer depends on its own data and the instant given, on nothing else; hours are local to the
//! node's time zone; an interval, a slot, a span is half open.

pub mod business_day;
pub mod capacity;
pub mod hours;
pub mod silence;
mod tag;
pub mod timetable;

use jiff::SignedDuration;
use jiff::civil::Weekday;

use crate::fulfillment::method::Method;
use crate::id::NodeId;
use crate::name::check_name;
use crate::place::LatLng;
use capacity::{Activity, Rule};
use hours::{Hours, from_monday};
pub use tag::{Tag, TagError};

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A shop with customers in it.
    Store,
    /// A warehouse.
    Warehouse,
    /// A store without customers.
    DarkStore,
    /// Lockers.
    Locker,
    /// Someone else's counter.
    PartnerPoint,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Store, Self::Warehouse, Self::DarkStore, Self::Locker, Self::PartnerPoint];

    /// Its name in storage.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Store => "STORE",
            Self::Warehouse => "WAREHOUSE",
            Self::DarkStore => "DARK_STORE",
            Self::Locker => "LOCKER",
            Self::PartnerPoint => "PARTNER_POINT",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Why a node is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// Empty, too long or with invisible characters.
    #[error("name {0}")]
    Name(crate::id::IdError),
    /// A duplicate method.
    #[error("duplicate method")]
    DuplicateMethod,
    /// A duplicate activity.
    #[error("duplicate activity")]
    DuplicateActivity,
    /// Too many tags, or a duplicate.
    #[error("must have at most {} tags, each once", Node::MAX_TAGS)]
    Tags,
    /// Not a minute of the day.
    #[error("cut-off must be a time of day from 00:00 to 24:00")]
    CutOff,
    /// Longer than a week.
    #[error("preparation must last from 0 to 10080 minutes")]
    Preparation,
    /// Nothing lies so far away.
    #[error("radius must be from 1 to 20100000 m")]
    Radius,
}

/// A method that a node offers, and on which terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// How goods reach the customer.
    pub method: Method,
    /// Opening time that the node needs to make an order ready, in minutes.
    pub preparation_minutes: u32,
    /// By weekday of the business day, Monday first: orders from this minute of it on are prepared on a later one; `None`:
    /// no cut-off.
    pub cut_offs: [Option<u16>; 7],
    /// How far from the customer the node may be, in metres; `None`: any distance.
    pub radius_m: Option<u32>,
}

impl Service {
    /// The opening time it needs to make an order ready.
    pub fn preparation(&self) -> SignedDuration {
        SignedDuration::from_mins(i64::from(self.preparation_minutes))
    }

    /// The cut-off of business days that begin on that weekday, as a minute of them.
    pub fn cut_off(&self, day: Weekday) -> Option<u16> {
        self.cut_offs.get(from_monday(day)).copied().flatten()
    }

    fn check(&self) -> Result<(), NodeError> {
        if self.preparation_minutes > 10_080 {
            return Err(NodeError::Preparation);
        }
        if self.cut_offs.iter().flatten().any(|minute| *minute > 1_440) {
            return Err(NodeError::CutOff);
        }
        if self.radius_m.is_some_and(|radius| !(1..=20_100_000).contains(&radius)) {
            return Err(NodeError::Radius);
        }
        Ok(())
    }
}

/// A place that holds stock or hands goods over.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The retailer's code.
    pub id: NodeId,
    /// Name for people.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub position: LatLng,
    /// When it is open.
    pub hours: Hours,
    /// What it offers, each method at most once.
    pub services: Vec<Service>,
    /// How much it takes on, each activity at most once; one that is not here has no limit.
    pub capacity: Vec<Rule>,
    /// Words by which groups choose it, each at most once.
    pub tags: Vec<Tag>,
}

impl Node {
    /// Longest name, in characters.
    pub const MAX_NAME: usize = 200;
    /// The most tags.
    pub const MAX_TAGS: usize = 50;

    /// Checks what concerns the node as a whole.
    pub fn check(&self) -> Result<(), NodeError> {
        check_name(&self.name, Self::MAX_NAME).map_err(NodeError::Name)?;
        for (i, service) in self.services.iter().enumerate() {
            service.check()?;
            if self.services[..i].iter().any(|other| other.method == service.method) {
                return Err(NodeError::DuplicateMethod);
            }
        }
        for (i, rule) in self.capacity.iter().enumerate() {
            if self.capacity[..i].iter().any(|other| other.activity() == rule.activity()) {
                return Err(NodeError::DuplicateActivity);
            }
        }
        let is_repeated = |(i, tag): (usize, &Tag)| self.tags[..i].contains(tag);
        if self.tags.len() > Self::MAX_TAGS || self.tags.iter().enumerate().any(is_repeated) {
            return Err(NodeError::Tags);
        }
        Ok(())
    }

    /// The terms on which it offers a method.
    pub fn service(&self, method: Method) -> Option<&Service> {
        self.services.iter().find(|service| service.method == method)
    }

    /// The limit on an activity.
    pub fn rule(&self, activity: Activity) -> Option<&Rule> {
        self.capacity.iter().find(|rule| rule.activity() == activity)
    }
}

#[cfg(test)]
mod tests {
    use super::capacity::Most;
    use super::hours::Zone;
    use super::*;

    fn node() -> Node {
        Node {
            id: NodeId::new("lon-1").unwrap(),
            name: "London 1".into(),
            kind: Kind::Store,
            position: LatLng::new(51.5, -0.1).unwrap(),
            hours: Hours::always(Zone::named("Europe/London").unwrap()),
            services: vec![pickup()],
            capacity: vec![Rule::new(Activity::Pick, 60, Most::Orders(3)).unwrap()],
            tags: vec![Tag::new("mall").unwrap()],
        }
    }

    fn pickup() -> Service {
        Service {
            method: Method::Pickup,
            preparation_minutes: 30,
            cut_offs: [Some(1_080); 7],
            radius_m: None,
        }
    }

    #[test]
    fn a_node_offers_each_method_once() {
        assert_eq!(node().check(), Ok(()));
        assert!(node().service(Method::Pickup).is_some());
        let twice = Node { services: vec![pickup(), pickup()], ..node() };
        assert_eq!(twice.check(), Err(NodeError::DuplicateMethod));
        let rule = |most| Rule::new(Activity::Pick, 30, most).unwrap();
        let twice = vec![rule(Most::Orders(1)), rule(Most::Units(9))];
        assert_eq!(Node { capacity: twice, ..node() }.check(), Err(NodeError::DuplicateActivity));
        let tag = |i: usize| Tag::new(&format!("t-{i}")).unwrap();
        let tagged = |tags| Node { tags, ..node() }.check();
        assert_eq!(tagged((0..50).map(tag).collect()), Ok(()));
        assert_eq!(tagged((0..51).map(tag).collect()), Err(NodeError::Tags));
        assert_eq!(tagged(vec![tag(1), tag(1)]), Err(NodeError::Tags));
    }

    #[test]
    fn terms_that_make_no_sense_are_refused() {
        let with = |service: Service| Node { services: vec![service], ..node() }.check();
        let mut late = pickup();
        late.cut_offs[6] = Some(1_441);
        assert_eq!(with(late), Err(NodeError::CutOff));
        assert_eq!(with(Service { preparation_minutes: 10_081, ..pickup() }), Err(NodeError::Preparation));
        assert_eq!(with(Service { radius_m: Some(0), ..pickup() }), Err(NodeError::Radius));
        assert!(matches!(Node { name: String::new(), ..node() }.check(), Err(NodeError::Name(_))));
    }

    #[test]
    fn names_read_back() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.name()), Some(kind));
        }
        assert_eq!(Kind::parse("store"), None);
    }
}
