//! The network: the places that hold stock or hand goods over, and when and how much they work.
//!
//! Always true: a node's answer depends on its own data and the instant given, on nothing else; hours are local to the
//! node's time zone; an interval, a slot, a span is half open.

pub mod business_day;
pub mod capacity;
pub mod hours;
pub mod silence;
pub mod timetable;

use jiff::SignedDuration;

use crate::fulfillment::method::Method;
use crate::id::NodeId;
use crate::name::check_name;
use crate::place::LatLng;
use capacity::{Activity, Rule};
use hours::Hours;

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
    /// Orders from this minute of the business day on are prepared on a later one; `None`: no cut-off.
    pub cut_off_minute: Option<u16>,
    /// How far from the customer the node may be, in metres; `None`: any distance.
    pub radius_m: Option<u32>,
}

impl Service {
    /// The opening time it needs to make an order ready.
    pub fn preparation(&self) -> SignedDuration {
        SignedDuration::from_mins(i64::from(self.preparation_minutes))
    }

    fn check(&self) -> Result<(), NodeError> {
        if self.preparation_minutes > 10_080 {
            return Err(NodeError::Preparation);
        }
        if self.cut_off_minute.is_some_and(|minute| minute > 1_440) {
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
}

impl Node {
    /// Longest name, in characters.
    pub const MAX_NAME: usize = 200;

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
            capacity: vec![Rule::new(Activity::Pick, 60, 3).unwrap()],
        }
    }

    fn pickup() -> Service {
        Service {
            method: Method::Pickup,
            preparation_minutes: 30,
            cut_off_minute: Some(1_080),
            radius_m: None,
        }
    }

    #[test]
    fn a_node_offers_each_method_once() {
        assert_eq!(node().check(), Ok(()));
        assert!(node().service(Method::Pickup).is_some());
        let twice = Node { services: vec![pickup(), pickup()], ..node() };
        assert_eq!(twice.check(), Err(NodeError::DuplicateMethod));
        let rule = Rule::new(Activity::Pick, 30, 1).unwrap();
        assert_eq!(Node { capacity: vec![rule, rule], ..node() }.check(), Err(NodeError::DuplicateActivity));
    }

    #[test]
    fn terms_that_make_no_sense_are_refused() {
        let with = |service: Service| Node { services: vec![service], ..node() }.check();
        assert_eq!(with(Service { cut_off_minute: Some(1_441), ..pickup() }), Err(NodeError::CutOff));
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
