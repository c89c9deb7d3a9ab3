//! Where pieces of a need may be looked for without asking: what the consent allows, in which order.
//!
//! Everything here depends on stored times alone, so that a round of seeking that is repeated after a crash asks for the
//! same again.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::need::MAX_WAIT_MS;
use super::{Group, Leg, Need, OptionKind, Order};
use crate::fulfillment::method::Method;
use crate::id::NodeId;
use crate::policy::Sourcing;
use crate::time::{Timestamp, after_ms};

/// The most rungs of a ladder.
pub const MAX_RUNGS: usize = 12;
/// The most nodes that are left out.
pub const MAX_EXCLUDED: usize = 50;

/// The numbers that seeking goes by. They are asked for at each round, since a round keeps nothing that the next one needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// To how many nodes the same pieces are offered before their customer is asked, the first one included.
    pub max_offers: i64,
    /// How many legs pieces may be divided into, where the customer allows more parts than were asked.
    pub max_parts: u32,
    /// How much later than promised goods still count as being ready in time, where the method itself does not say it.
    pub slack: BTreeMap<Method, SignedDuration>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { max_offers: 5, max_parts: 3, slack: BTreeMap::new() }
    }
}

impl Bounds {
    /// The same where policies say some of it of a group by this method.
    #[must_use]
    pub fn with(self, said: &Sourcing) -> Self {
        let parts = said.max_parts.and_then(|said| u32::try_from(said.value).ok());
        Self {
            max_offers: said.max_offers.map_or(self.max_offers, |said| said.value.into()),
            max_parts: parts.unwrap_or(self.max_parts),
            ..self
        }
    }

    /// The same where policies say how much later goods by a method may be ready.
    #[must_use]
    pub fn with_slack(mut self, method: Method, said: &Sourcing) -> Self {
        self.slack.extend(said.slack.map(|said| (method, said.value)));
        self
    }

    fn slack(&self, method: Method) -> SignedDuration {
        self.slack.get(&method).copied().unwrap_or(method.rules().slack)
    }
}

/// What may be done without asking when a node can't do what was promised. Nothing is allowed by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Consent {
    /// Another node within this many meters of the first; 0: no.
    pub radius_m: i64,
    /// Later, until then.
    pub delay_until: Option<Timestamp>,
    /// In more parts than asked.
    pub split: bool,
    /// Another method; the first is tried first.
    pub methods: Vec<Method>,
}

/// Which nodes a rung is for. Nodes that are left out are so on every rung.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nodes {
    /// Any that serves the group.
    Any,
    /// The one that the customer named, which has failed nothing yet.
    Named(NodeId),
    /// Those near a node, itself too.
    Near {
        /// The node.
        node: NodeId,
        /// How far, in meters.
        radius_m: i64,
    },
}

/// One way in which pieces of a need are looked for. Tried one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rung {
    /// How the goods reach the customer.
    pub method: Method,
    /// At which nodes.
    pub nodes: Nodes,
    /// Ready from then on.
    pub from: Timestamp,
    /// Ready before then, later than `from`.
    pub latest: Timestamp,
    /// In at most how many legs, 1 to [`Bounds::max_parts`].
    pub parts: u32,
}

/// The ladder of a need: at most [`MAX_RUNGS`], each once, best first. Empty: the customer is asked at once.
pub fn rungs(order: &Order, need: &Need, consent: &Consent, bounds: &Bounds, now: Timestamp) -> Vec<Rung> {
    let Some(group) = order.group(need.group) else { return Vec::new() };
    let is_apart = !is_whole(order, need);
    // Nobody was promised that what was sold elsewhere stays together.
    let may_split = consent.split || order.acceptance.is_sold_elsewhere();
    if need.offers >= bounds.max_offers || is_apart && !may_split {
        return Vec::new();
    }
    let method = order.method_of(need).unwrap_or(group.method);
    let from = group.wanted.map_or(need.opened, |wanted| wanted.start.max(need.opened));
    let cap = |at: Timestamp| group.not_later_than.map_or(at, |limit| at.min(limit));
    let same = in_time(order, need, group, consent, bounds);
    let late = consent.delay_until.map_or(same, |until| until.max(same));
    let (same, late) = (cap(same), cap(late));
    let mut ladder: Vec<Rung> = Vec::new();
    let mut add = |method: Method, nodes: Nodes, latest: Timestamp, parts: u32| {
        let rung = Rung { method, nodes, from, latest, parts };
        let is_possible = method.rules().is_offered && latest > now && latest > from;
        if is_possible && ladder.len() < MAX_RUNGS && !ladder.contains(&rung) {
            ladder.push(rung);
        }
    };
    let nodes = nodes(order, need, method, consent);
    let most = if may_split { bounds.max_parts.max(1) } else { 1 };
    for parts in [1, most] {
        for latest in [same, late] {
            if let Some(nodes) = &nodes {
                add(method, nodes.clone(), latest, parts);
            }
        }
    }
    for other in consent.methods.iter().filter(|other| **other != method) {
        add(*other, Nodes::Any, late, 1);
    }
    ladder
}

/// The earliest time at which pieces of a need are offered as ready: not before they were wanted and, where the customer waits,
/// not before they were promised. None: as early as possible.
pub fn not_before(order: &Order, need: &Need, kind: OptionKind) -> Option<Timestamp> {
    let wanted = order.group(need.group).and_then(|group| group.wanted).map(|wanted| wanted.start);
    let failed = need.leg.and_then(|leg| order.leg(leg)).filter(|_| kind == OptionKind::Wait);
    wanted.max(failed.map(|leg| leg.window.start))
}

/// The nodes of the legs behind all needs of the group, each with its newest reason: at most the newest
/// [`MAX_EXCLUDED`], by node. They are not asked again.
pub fn excluded(order: &Order, need: &Need) -> Vec<(NodeId, String)> {
    let mut nodes: Vec<(NodeId, String)> = Vec::new();
    for other in order.needs.iter().rev().filter(|other| other.group == need.group) {
        let Some(leg) = other.leg.and_then(|leg| order.leg(leg)) else { continue };
        if nodes.len() < MAX_EXCLUDED && !nodes.iter().any(|(node, _)| *node == leg.node) {
            nodes.push((leg.node.clone(), other.reason.clone()));
        }
    }
    nodes.sort_unstable();
    nodes
}

/// Which nodes may serve the need by the method that it has; none: no other than the one that the customer named.
fn nodes(order: &Order, need: &Need, method: Method, consent: &Consent) -> Option<Nodes> {
    let group = order.group(need.group)?;
    // The customer named a node for the method that was asked.
    let is_named = group.node.is_some() && group.method == method;
    if !(is_named && method.rules().is_collected) {
        return Some(Nodes::Any);
    }
    let node = order.first_node(need.group)?.clone();
    match consent.radius_m {
        radius_m @ 1.. => Some(Nodes::Near { node, radius_m }),
        ..=0 => need.leg.is_none().then_some(Nodes::Named(node)),
    }
}

/// No other piece of the group stands anywhere or was handed over: what is looked for is all that stays together.
fn is_whole(order: &Order, need: &Need) -> bool {
    let mut legs = order.legs.iter().filter(|leg| leg.group == need.group && leg.is_live());
    !legs.any(|leg| leg.lines.iter().any(|line| line.units.buckets(leg.is_accepted).live() > 0))
}

/// Until when goods count as being ready when they were promised. A leg that is later than this, and later than the
/// customer allowed, was chosen by the customer: then its own promise counts.
fn in_time(order: &Order, need: &Need, group: &Group, consent: &Consent, bounds: &Bounds) -> Timestamp {
    let mut tries = order.tries_before(need);
    tries.reverse();
    let slack = |leg: &Leg| later(leg.window.start, bounds.slack(leg.method));
    let asked = group.wanted.map(|wanted| wanted.end);
    // What was never promised has no time to keep: it may come for as long as it is looked for.
    let is_unpromised = need.leg.is_none() && order.acceptance.is_sold_elsewhere();
    let opened = if is_unpromised {
        after_ms(need.opened, MAX_WAIT_MS)
    } else {
        later(need.opened, bounds.slack(group.method))
    };
    // What no leg has was promised too, before its hold was lost: perhaps long before its payment came.
    let lost = order.legs.iter().rfind(|leg| need.leg.is_none() && leg.group == group.no && !leg.is_live());
    let promised = tries.first().map(|leg| slack(leg)).or_else(|| lost.map(|leg| slack(leg).max(opened)));
    let mut limit = asked.or(promised).unwrap_or(opened);
    for leg in tries {
        let allowed = consent.delay_until.map_or(limit, |until| until.max(limit));
        if leg.window.start > allowed {
            limit = slack(leg);
        }
    }
    limit
}

impl Order {
    /// The node that a group was asked of, or else the first that it was promised at: what radii are measured from.
    pub fn first_node(&self, group: u32) -> Option<&NodeId> {
        let named = self.group(group).and_then(|group| group.node.as_ref());
        named.or_else(|| self.legs.iter().find(|leg| leg.group == group).map(|leg| &leg.node))
    }

    /// How the pieces of a need were to reach the customer; none: the order has no such group.
    pub fn method_of(&self, need: &Need) -> Option<Method> {
        let leg = need.leg.and_then(|leg| self.leg(leg)).map(|leg| leg.method);
        leg.or_else(|| self.group(need.group).map(|group| group.method))
    }

    /// The need of this number.
    pub fn need_no(&self, no: i64) -> Option<&Need> {
        self.needs.iter().find(|need| need.no == no)
    }

    /// The legs that failed the pieces of a need: the last one first.
    pub(super) fn tries_before(&self, need: &Need) -> Vec<&Leg> {
        let mut legs: Vec<&Leg> = Vec::new();
        let mut next = need.leg;
        while let Some(leg) = next.and_then(|leg| self.leg(leg)) {
            legs.push(leg);
            // A need is opened after the leg that it comes from, so its number falls.
            let before = leg.need.and_then(|no| self.need_no(no)).filter(|_| legs.len() <= self.legs.len());
            next = before.and_then(|need| need.leg);
        }
        legs
    }
}

/// The instant a length of time later, at most the end of the calendar.
pub(super) fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    after_ms(at, i64::try_from(by.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{asked, at, draft, paid, place, report, serving};
    use super::super::{Draft, LegUnits, OptionKind, Order, Span, TenderState};
    use super::*;
    use crate::id::LineNo;
    use crate::order::testing::{POLICY, leg, quote, tender};

    /// What is asked of a group, and what is allowed with it.
    #[derive(Default)]
    struct Case {
        is_named: bool,
        wanted: Option<(i64, i64)>,
        not_later_than: Option<i64>,
        /// The node still has other pieces of the group.
        is_part: bool,
        radius_m: i64,
        delay_until: Option<i64>,
        split: bool,
        methods: Vec<Method>,
        offers: i64,
        now: i64,
        bounds: Bounds,
    }

    fn short(order: Order, pieces: i64) -> Order {
        let fails = |_: LineNo, units: &mut LegUnits| {
            (units.to_pick, units.short) = (units.quantity - pieces, pieces);
        };
        let report = report(&order, true, fails);
        order.follow(&report, at(10)).unwrap().order
    }

    fn placed(case: &Case) -> Order {
        let draft: Draft = draft(&[(3, 100)], 0, vec![tender("a", 300, TenderState::Captured)]);
        let mut asked = asked(&[(1, 3)]);
        let group = &mut asked.groups[0];
        group.node = case.is_named.then(|| asked.legs[0].node.clone());
        group.wanted = case.wanted.map(|(start, end)| Span { start: at(start), end: at(end) });
        group.not_later_than = case.not_later_than.map(at);
        let id = place(draft.clone()).order.id;
        Order::place(id, draft, asked, &POLICY, at(0)).unwrap().order
    }

    fn said(rung: &Rung) -> String {
        let nodes = match &rung.nodes {
            Nodes::Any => "any".to_owned(),
            Nodes::Near { node, radius_m } => format!("{radius_m} m from {node}"),
            Nodes::Named(node) => node.to_string(),
        };
        let [from, latest] = [rung.from, rung.latest].map(Timestamp::as_second);
        format!("{} {nodes} {from}..{latest} in {}", rung.method, rung.parts)
    }

    fn ladder(case: &Case) -> Vec<String> {
        let mut order = short(placed(case), if case.is_part { 1 } else { 3 });
        order.needs[0].offers += case.offers;
        let consent = Consent {
            radius_m: case.radius_m,
            delay_until: case.delay_until.map(at),
            split: case.split,
            methods: case.methods.clone(),
        };
        rungs(&order, &order.needs[0], &consent, &case.bounds, at(case.now.max(10)))
            .iter()
            .map(said)
            .collect()
    }

    fn check(table: &[(&str, Case, &[&str])]) {
        for (name, case, expected) in table {
            assert_eq!(ladder(case), *expected, "{name}");
        }
    }

    /// The platform chose the node; promised for 3600, with an hour of slack, and opened at 10.
    fn free() -> Case {
        Case::default()
    }

    /// The customer chose the node.
    fn named() -> Case {
        Case { is_named: true, ..free() }
    }

    const IN_TIME: &str = "PICKUP any 10..7200 in 1";

    #[test]
    fn the_ladder_has_the_nodes_and_parts_that_the_consent_allows() {
        let others = vec![Method::Parcel, Method::Pickup];
        check(&[
            ("the platform chose the node", free(), &[IN_TIME]),
            ("the customer chose it", named(), &[]),
            ("others too", Case { radius_m: 900, ..named() }, &["PICKUP 900 m from store-1 10..7200 in 1"]),
            ("a radius limits nobody else", Case { radius_m: 900, ..free() }, &[IN_TIME]),
            ("in parts last", Case { split: true, ..free() }, &[IN_TIME, "PICKUP any 10..7200 in 3"]),
            ("a part stays with its node", Case { is_part: true, delay_until: Some(9_000), ..free() }, &[]),
            (
                "unless it may be split",
                Case { is_part: true, split: true, ..free() },
                &[IN_TIME, "PICKUP any 10..7200 in 3"],
            ),
            ("five nodes had it", Case { offers: 4, ..free() }, &[]),
            ("four had it", Case { offers: 3, ..free() }, &[IN_TIME]),
            ("a method that is not offered, and the same one", Case { methods: others, ..named() }, &[]),
        ]);
    }

    #[test]
    fn the_ladder_has_as_many_nodes_and_parts_and_as_much_slack_as_it_is_given() {
        let bounds = |max_offers: i64, max_parts: u32, slack: &[(Method, i64)]| {
            let slack = slack.iter().map(|(method, minutes)| (*method, SignedDuration::from_mins(*minutes)));
            Bounds { max_offers, max_parts, slack: slack.collect() }
        };
        let case = |offers: i64, bounds: Bounds| Case { split: true, offers, bounds, ..free() };
        check(&[
            ("five legs", case(0, bounds(5, 5, &[])), &[IN_TIME, "PICKUP any 10..7200 in 5"]),
            ("one leg, though it may be split", case(0, bounds(5, 1, &[])), &[IN_TIME]),
            ("two nodes had it", case(1, bounds(2, 1, &[])), &[]),
            ("six nodes had it", case(5, bounds(7, 1, &[])), &[IN_TIME]),
            (
                "ten minutes later at most",
                case(0, bounds(5, 1, &[(Method::Pickup, 10), (Method::Parcel, 90)])),
                &["PICKUP any 10..4200 in 1"],
            ),
        ]);
    }

    #[test]
    fn the_ladder_has_the_times_that_the_consent_allows() {
        let later = || Case { delay_until: Some(9_000), ..free() };
        let late = "PICKUP any 10..9000 in 1";
        check(&[
            ("a window instead", Case { wanted: Some((5, 5_000)), ..free() }, &["PICKUP any 10..5000 in 1"]),
            (
                "not before it",
                Case { wanted: Some((4_000, 5_000)), ..free() },
                &["PICKUP any 4000..5000 in 1"],
            ),
            ("later too", later(), &[IN_TIME, late]),
            ("a delay within the slack is none", Case { delay_until: Some(7_000), ..free() }, &[IN_TIME]),
            (
                "never later than the limit",
                Case { not_later_than: Some(8_000), ..later() },
                &[IN_TIME, "PICKUP any 10..8000 in 1"],
            ),
            (
                "the limit caps the slack",
                Case { not_later_than: Some(4_000), ..later() },
                &["PICKUP any 10..4000 in 1"],
            ),
            ("what time made impossible is left out", Case { now: 7_200, ..later() }, &[late]),
            ("all of it", Case { now: 9_000, ..later() }, &[]),
            (
                "times before parts",
                Case { split: true, ..later() },
                &[IN_TIME, late, "PICKUP any 10..7200 in 3", "PICKUP any 10..9000 in 3"],
            ),
        ]);
    }

    #[test]
    fn nodes_that_failed_are_left_out_with_their_newest_reason() {
        let order = short(paid(), 1);
        let mut legs = vec![leg("second", 1, &[(1, 1), (2, 1)])];
        legs[0].node = NodeId::new("store-0").unwrap();
        let order = order.clone().reroute(order.needs[0].id, legs, at(11)).unwrap().order;
        let mut gone = report(&order, true, |_, units| (units.to_pick, units.given_up) = (0, units.quantity));
        gone.reason = "STORE_TIMED_OUT".to_owned();
        let order = order.follow(&gone, at(12)).unwrap().order;
        let second = &order.needs[1];
        assert_eq!((second.offers, order.offer_number(order.leg(serving(&order)).unwrap())), (2, 2));
        let left_out: Vec<(String, String)> =
            excluded(&order, second).into_iter().map(|(node, why)| (node.to_string(), why)).collect();
        let pair = |node: &str, why: &str| (node.to_owned(), why.to_owned());
        assert_eq!(left_out, [pair("store-0", "STORE_TIMED_OUT"), pair("store-1", "SHORT")]);
        assert_eq!(
            excluded(&order, &order.needs[0]),
            excluded(&order, second),
            "the same for all of the group"
        );
    }

    #[test]
    fn slack_counts_from_the_first_promise_and_not_again_from_each_other() {
        let order = short(placed(&Case::default()), 3);
        let again = |order: &Order, start: i64| {
            let mut new = leg(&format!("at {start}"), 1, &[(1, 3)]);
            new.window.start = at(start);
            let need = order.needs.last().unwrap().id;
            short(order.clone().reroute(need, vec![new], at(20)).unwrap().order, 3)
        };
        let latest = |order: &Order, consent: &Consent| {
            let rungs = rungs(order, order.needs.last().unwrap(), consent, &Bounds::default(), at(20));
            rungs.iter().map(|rung| rung.latest.as_second()).collect::<Vec<_>>()
        };
        let (none, delay) =
            (Consent::default(), Consent { delay_until: Some(at(9_000)), ..Consent::default() });
        assert_eq!(latest(&again(&order, 7_000), &none), [7_200]);
        assert_eq!(latest(&again(&order, 8_500), &delay), [7_200, 9_000]);
        // Later than the customer had allowed: the customer chose it.
        assert_eq!(latest(&again(&order, 90_000), &delay), [93_600]);
        assert_eq!(latest(&again(&again(&order, 90_000), 93_000), &none), [93_600]);
    }

    #[test]
    fn what_no_leg_has_is_looked_for_where_it_was_promised_too() {
        let promised = |radius_m: i64, is_named: bool, not_later_than: Option<i64>| {
            let case = Case { is_named, not_later_than, ..Case::default() };
            // Paid at once; as if it were not, and had lapsed.
            let mut order = placed(&case);
            order.legs[0].released = None;
            order.drop_legs(|_| true, at(900));
            assert_eq!(order.need_open_pieces("NO_STOCK", at(950)).len(), 1);
            let consent = Consent { radius_m, ..Consent::default() };
            assert_eq!(excluded(&order, &order.needs[0]), []);
            let bounds = Bounds::default();
            rungs(&order, &order.needs[0], &consent, &bounds, at(950)).iter().map(said).collect::<Vec<_>>()
        };
        // Promised for 3600, with an hour of slack.
        assert_eq!(promised(0, false, None), ["PICKUP any 950..7200 in 1"]);
        assert_eq!(promised(0, true, None), ["PICKUP store-1 950..7200 in 1"]);
        assert_eq!(promised(900, true, None), ["PICKUP 900 m from store-1 950..7200 in 1"]);
        assert_eq!(promised(900, true, Some(5_000)), ["PICKUP 900 m from store-1 950..5000 in 1"]);
        assert_eq!(promised(900, true, Some(900)), Vec::<String>::new());
    }

    #[test]
    fn a_leg_by_another_method_is_not_bound_to_the_node_that_was_named() {
        let named = Case { is_named: true, ..Case::default() };
        let order = short(placed(&named), 3);
        let places = vec![(OptionKind::OtherNode, quote("store-2", 4_000))];
        let asked = order.clone().ask(order.needs[0].id, places, &POLICY, at(11)).unwrap().order;
        assert_eq!(rungs(&asked, &asked.needs[0], &Consent::default(), &Bounds::default(), at(11)), []);
        let mut new = leg("by parcel", 1, &[(1, 3)]);
        (new.method, new.node) = (Method::Parcel, NodeId::new("hub").unwrap());
        let order = short(asked.clone().reroute(asked.needs[0].id, vec![new], at(12)).unwrap().order, 3);
        let need = order.needs.last().unwrap();
        assert_eq!(
            (order.method_of(need), order.first_node(1).map(NodeId::as_str)),
            (Some(Method::Parcel), Some("store-1"))
        );
        assert_eq!(nodes(&order, need, Method::Parcel, &Consent::default()), Some(Nodes::Any));
    }
}
