//! What applies to a thing: merging, ranks, groups, time; what is refused; what is explained.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::body::pools::AppliedPool;
use super::in_force::Refusal;
use jiff::SignedDuration;

use super::testing::{accept, at, id, minutes, node, span, version};
use super::*;
use crate::fulfillment::method::Method;
use crate::id::Sku;
use crate::network;

fn tags(tags: &[&str]) -> BTreeSet<String> {
    tags.iter().map(|tag| (*tag).to_owned()).collect()
}

fn group(code: &str, nodes: &[&str], with: &[&str]) -> Group {
    Group { code: code.to_owned(), nodes: nodes.iter().map(|code| node(code)).collect(), tags: tags(with) }
}

/// Stores N1 (coast), N2 (coast, big) and the warehouse W1; the group `coast` by tag, `south` as a list of N2 and N3.
fn book(versions: Vec<Arc<Version>>) -> Book {
    let facts = |kind, with: &[&str]| NodeFacts { kind, tags: tags(with) };
    let nodes = [
        (node("N1"), facts(network::Kind::Store, &["coast"])),
        (node("N2"), facts(network::Kind::Store, &["big", "coast"])),
        (node("W1"), facts(network::Kind::Warehouse, &[])),
    ];
    Book::new(versions, [group("coast", &[], &["coast"]), group("south", &["N2", "N3"], &[])], nodes)
}

fn of_node(code: &str) -> Scope {
    Scope { node: Some(node(code)), ..Scope::default() }
}

fn of_group(code: &str) -> Scope {
    Scope { group: Some(code.to_owned()), ..Scope::default() }
}

fn of_channel(channel: &str) -> Scope {
    Scope { channel: Some(channel.to_owned()), ..Scope::default() }
}

#[test]
fn the_most_telling_dimension_decides_the_rank() {
    let all = Scope {
        sku: Some(Sku::new("A").unwrap()),
        category: Some("shoes".into()),
        node: Some(node("N1")),
        group: Some("coast".into()),
        kind: Some(network::Kind::Store),
        channel: Some("web".into()),
        tier: Some(2),
        method: Some(Method::Pickup),
    };
    assert_eq!((all.rank(), Scope::default().rank()), (255, 0));
    let sku = Scope { sku: all.sku.clone(), ..Scope::default() };
    let rest = Scope { sku: None, ..all.clone() };
    assert_eq!((sku.rank(), rest.rank()), (128, 127));
    assert_eq!(
        all.key(),
        "sku=A&category=shoes&node_id=N1&node_group=coast&node_kind=STORE&channel=web&tier=2&method=PICKUP"
    );
    assert_eq!(of_channel("a=b&c%").key(), "channel=a%3Db%26c%25");
    assert_eq!(Scope::default().key(), "");
}

#[test]
fn each_field_comes_from_the_most_specific_version_that_says_it() {
    let clocks = |accept: Option<i64>, keep: Option<i64>| {
        let [accept, keep] = [accept, keep].map(|length| length.map(minutes));
        Body::Clocks(ClocksBody { accept, keep, ..ClocksBody::default() })
    };
    let book = book(vec![
        version(1, Scope::default(), clocks(Some(30), Some(600))),
        version(2, of_node("N1"), clocks(Some(5), None)),
        version(3, of_group("coast"), clocks(Some(10), Some(300))),
    ]);
    let (n1, n2, w1) = (node("N1"), node("N2"), node("W1"));
    let asked = |node| {
        let clocks = book.clocks(&Asked { node: Some(node), ..Asked::default() }, at(1));
        [clocks.accept, clocks.keep].map(|field| field.map(|field| (field.value.as_mins(), field.version)))
    };
    assert_eq!(asked(&n1), [Some((5, 2)), Some((300, 3))]);
    assert_eq!(asked(&n2), [Some((10, 3)), Some((300, 3))]);
    assert_eq!(asked(&w1), [Some((30, 1)), Some((600, 1))]);
    let clocks = book.clocks(&Asked::default(), at(1));
    assert_eq!((clocks.put_back, clocks.accept.unwrap().version), (None, 1), "the settings say the rest");
    assert_eq!(book.clocks(&Asked::default(), at(-1)), Clocks::default(), "before it was in force");
}

#[test]
fn what_is_not_known_of_a_thing_fits_no_scope_that_names_it() {
    let kind = Scope { kind: Some(network::Kind::Store), ..Scope::default() };
    let both = Scope { channel: Some("web".into()), ..of_group("coast") };
    let book = book(vec![accept(1, kind, 20), accept(2, both, 10), accept(3, of_group("gone"), 5)]);
    let (n1, n9) = (node("N1"), node("N9"));
    let version = |node, channel| {
        let clocks = book.clocks(&Asked { node, channel, ..Asked::default() }, at(1));
        clocks.accept.map(|field| field.version)
    };
    assert_eq!(version(Some(&n1), Some("web")), Some(2));
    assert_eq!(version(Some(&n1), Some("pos")), Some(1));
    assert_eq!(version(Some(&n1), None), Some(1));
    assert_eq!(version(Some(&n9), Some("web")), None, "a node that nobody knows is of no kind");
    assert_eq!(version(None, Some("web")), None);
}

#[test]
fn pools_merge_channel_by_channel() {
    let pools = |pools: &[(&str, i64)]| {
        let pools = pools.iter().map(|(channel, units)| Pool { channel: (*channel).into(), units: *units });
        Body::Pools(PoolsBody { pools: pools.collect() })
    };
    let sku = Sku::new("A").unwrap();
    let of_sku = Scope { sku: Some(sku.clone()), ..Scope::default() };
    let book = book(vec![
        version(1, Scope::default(), pools(&[("web", 2), ("app", 3)])),
        version(2, of_sku, pools(&[("web", 9), ("pos", 1)])),
    ]);
    let asked = Asked { sku: Some(&sku), ..Asked::default() };
    let applied = |channel, units, version| AppliedPool { channel, units, version };
    assert_eq!(book.pools(&asked, at(1)), [applied("app", 3, 1), applied("pos", 1, 2), applied("web", 9, 2)]);
    let explained = book.explain(Kind::Pools, &asked, at(1));
    let web = explained.origins.iter().find(|origin| origin.field == "pools[web]").unwrap();
    assert_eq!((web.policy, web.version, &web.losers), (Some(id(2)), 2, &vec![id(1)]));
}

#[test]
fn the_paused_methods_of_a_storm_are_one_field() {
    let scenario = |name: &str, paused: &[Method], metres| {
        Body::Scenario(ScenarioBody {
            name: name.into(),
            paused_methods: paused.to_vec(),
            extra_preparation: None,
            max_radius_m: metres,
        })
    };
    let book = book(vec![
        version(1, Scope::default(), scenario("STORM", &[Method::Express, Method::Parcel], Some(9_000))),
        version(2, of_node("N1"), scenario("STORM_OVER", &[Method::Express], None)),
        version(3, of_node("N2"), scenario("PEAK", &[], Some(1_000))),
    ]);
    let (n1, n2) = (node("N1"), node("N2"));
    let n1 = book.scenario(&Asked { node: Some(&n1), ..Asked::default() }, at(1));
    assert_eq!(n1.name.map(|name| name.value), Some("STORM_OVER"));
    assert_eq!([Method::Express, Method::Parcel].map(|method| n1.pauses(method).is_some()), [true, false]);
    assert_eq!(n1.max_radius_m, Some(Field { value: 9_000, version: 1 }));
    let n2 = book.scenario(&Asked { node: Some(&n2), ..Asked::default() }, at(1));
    assert_eq!(n2.pauses(Method::Parcel), Some(Field { value: Method::Parcel, version: 1 }));
    assert_eq!(n2.max_radius_m, Some(Field { value: 1_000, version: 3 }));
}

#[test]
fn safety_stock_is_the_larger_of_units_and_share() {
    let field = |value, version| Field { value, version };
    let stock = SafetyStock { units: Some(field(3, 1)), percent: Some(Field { value: 10, version: 2 }) };
    assert_eq!(stock.kept(21), Some(field(3, 1)), "2.1 is rounded up, and equals the units");
    assert_eq!(stock.kept(31), Some(field(4, 2)));
    assert_eq!(stock.kept(-5), Some(field(3, 1)));
    assert_eq!(SafetyStock::default().kept(100), None);
}

#[test]
fn an_explanation_names_winners_and_losers_and_what_the_settings_say() {
    let book = book(vec![
        accept(1, Scope::default(), 30),
        accept(2, of_node("N2"), 5),
        accept(3, of_group("coast"), 10),
    ]);
    let n2 = node("N2");
    let explained = book.explain(Kind::Clocks, &Asked { node: Some(&n2), ..Asked::default() }, at(1));
    let candidates: Vec<i64> = explained.candidates.iter().map(|version| version.version).collect();
    assert_eq!(candidates, [2, 3, 1]);
    assert_eq!(explained.origins.len(), ClocksBody::FIELDS.len());
    let of = |field: &str| explained.origins.iter().find(|origin| origin.field == field).unwrap();
    let winner = of("accept");
    assert_eq!((winner.policy, winner.version), (Some(id(2)), 2));
    assert_eq!(winner.losers, [id(3), id(1)]);
    assert_eq!((of("keep").policy, of("keep").version), (None, 0));
    let accept = ClocksBody { accept: Some(minutes(5)), ..ClocksBody::default() };
    assert_eq!(explained.body, Body::Clocks(accept));
}

#[test]
fn versions_of_two_groups_that_share_a_node_are_ambiguous() {
    let book = book(vec![accept(1, of_group("coast"), 10)]);
    let ambiguous = |scope: &Scope, valid: Valid, now: i64| {
        book.ambiguous_with(Kind::Clocks, scope, valid, at(now)).map(|version| version.version)
    };
    let always = Valid::default();
    assert_eq!(ambiguous(&of_group("south"), always, 1), Some(1), "both have N2");
    assert_eq!(ambiguous(&of_group("coast"), always, 1), None, "the same scope: one lies over the other");
    assert_eq!(ambiguous(&of_node("N2"), always, 1), None, "another rank");
    assert_eq!(book.ambiguous_with(Kind::Scenario, &of_group("south"), always, at(1)), None);
    let of_kind = Scope { kind: Some(network::Kind::Warehouse), ..of_group("south") };
    assert_eq!(ambiguous(&of_kind, always, 1), None, "another rank again");
}

#[test]
fn what_can_not_meet_in_time_is_not_ambiguous() {
    let of = |number, scope, from: Option<i64>, until: Option<i64>| {
        let valid = Valid { from: from.map(at), until: until.map(at) };
        Arc::new(Version { valid, in_force: Vec::new(), ..Version::clone(&accept(number, scope, 10)) })
    };
    let book = book(vec![of(1, of_group("coast"), Some(100), Some(200))]);
    let ambiguous = |from: Option<i64>, until: Option<i64>, now| {
        let valid = Valid { from: from.map(at), until: until.map(at) };
        book.ambiguous_with(Kind::Clocks, &of_group("south"), valid, at(now)).is_some()
    };
    assert!(ambiguous(None, None, 0) && ambiguous(Some(199), None, 0) && ambiguous(None, Some(101), 0));
    assert!(!ambiguous(Some(200), None, 0) && !ambiguous(None, Some(100), 0));
    assert!(!ambiguous(None, None, 200), "its time is over");
}

#[test]
fn a_new_member_of_a_group_can_make_versions_ambiguous() {
    let book = book(vec![accept(1, of_group("north"), 10), accept(2, of_group("south"), 10)]);
    let after = |nodes: &[&str], with: &[&str]| {
        let pair = book.ambiguous_after(&group("north", nodes, with), at(1));
        pair.map(|(ours, theirs)| (ours.version, theirs.version))
    };
    assert_eq!(after(&["N1"], &[]), None);
    assert_eq!(after(&["N1", "N2"], &[]), Some((1, 2)));
    assert_eq!(after(&[], &["coast"]), Some((1, 2)));
    assert_eq!(after(&[], &["big", "hills"]), None, "it must have all tags");
    assert_eq!(after(&["N3"], &[]), None, "nobody knows N3 yet");
}

#[test]
fn a_scope_that_the_kind_does_not_know_is_refused_by_field() {
    let fields = |scope: Scope, body: Body| -> Vec<String> {
        check(&scope, Valid::default(), &body).into_iter().map(|fault| fault.field).collect()
    };
    let limits = Body::Limits(LimitsBody { max_tokens: Some(1), ..LimitsBody::default() });
    assert_eq!(fields(of_channel("web"), limits.clone()), [""; 0]);
    assert_eq!(fields(of_node("N1"), limits.clone()), ["scope.node_id"]);
    assert_eq!(fields(Scope { tier: Some(10), ..of_channel("") }, limits), ["scope.channel", "scope.tier"]);
    let per_km = SourcingBody { per_km: Some(1), silent_after: Some(2), ..SourcingBody::default() };
    assert_eq!(fields(of_node("N1"), Body::Sourcing(per_km)), ["sourcing.per_km"]);
    let silence = SourcingBody { per_km: None, ..per_km };
    assert_eq!(fields(of_node("N1"), Body::Sourcing(silence)), [""; 0]);
    assert_eq!(fields(Scope::default(), Body::Clocks(ClocksBody::default())), ["clocks"], "it says nothing");
    let pool = |channel: &str, units| Pool { channel: channel.into(), units };
    let pools = PoolsBody { pools: vec![pool("web", 1), pool("web", 0)] };
    assert_eq!(
        fields(Scope::default(), Body::Pools(pools)),
        ["pools.pools[1].channel", "pools.pools[1].units"]
    );
}

#[test]
fn numbers_out_of_range_are_refused_in_words() {
    let faults = |scope: Scope, body: ClocksBody| -> Vec<String> {
        let faults = check(&scope, Valid::default(), &Body::Clocks(body)).into_iter();
        faults.map(|fault| format!("{} {}", fault.field, fault.must)).collect()
    };
    let none = ClocksBody::default();
    let seconds = SignedDuration::from_secs;
    let five = ClocksBody { accept: Some(seconds(5)), ..none };
    let express = Scope { method: Some(Method::Express), ..Scope::default() };
    assert_eq!(faults(express, five), [""; 0], "it runs by the clock");
    assert_eq!(faults(Scope::default(), five), ["clocks.accept must be from 1 min to 7 days"]);
    let late = ClocksBody {
        keep: Some(minutes(60)),
        first_reminder: Some(minutes(60)),
        second_reminder: Some(seconds(0)),
        min_open: Some(minutes(24 * 60 + 1)),
        at_risk_percent: Some(100),
        ..none
    };
    assert_eq!(
        faults(Scope::default(), late),
        [
            "clocks.min_open must be from 0 to 24 h",
            "clocks.at_risk_percent must be from 1 to 99",
            "clocks.first_reminder must be shorter than keep, or 0 for never",
        ]
    );
    let twice = ClocksBody { first_reminder: Some(minutes(30)), second_reminder: Some(minutes(30)), ..none };
    assert_eq!(
        faults(Scope::default(), twice),
        ["clocks.second_reminder must be later than first_reminder, or 0 for never"]
    );
    let valid = Valid { from: Some(at(5)), until: Some(at(5)) };
    let faults =
        check(&Scope::default(), valid, &Body::Clocks(ClocksBody { keep: Some(minutes(60)), ..none }));
    assert_eq!(faults, [Fault::new("until_time", "must be later than from_time")]);
}

#[test]
fn an_activation_begins_and_ends_within_what_the_version_allows() {
    let made = Version::clone(&accept(1, Scope::default(), 10));
    let of = |valid: (Option<i64>, Option<i64>), from: Option<i64>, until: Option<i64>| {
        let valid = Valid { from: valid.0.map(at), until: valid.1.map(at) };
        let version = Version { valid, ..made.clone() };
        activate(&version, &[], from.map(at), until.map(at), at(1_000)).map(|made| made.span)
    };
    assert_eq!(of((None, None), None, None), Ok(span(1_000, None)));
    assert_eq!(of((Some(2_000), Some(3_000)), None, None), Ok(span(2_000, Some(3_000))));
    assert_eq!(
        of((None, None), Some(941), Some(1_001)),
        Ok(span(1_000, Some(1_001))),
        "a minute late is now"
    );
    assert_eq!(of((None, None), Some(939), None), Err(Refusal::Past { now: at(1_000) }));
    assert_eq!(of((Some(2_000), None), Some(1_999), None), Err(Refusal::TooEarly { from: at(2_000) }));
    assert_eq!(of((None, Some(2_000)), None, Some(2_001)), Err(Refusal::TooLate { until: at(2_000) }));
    assert_eq!(of((None, Some(1_000)), None, None), Err(Refusal::Over { until: at(1_000) }));
    assert_eq!(of((None, None), Some(1_500), Some(1_500)), Err(Refusal::Empty { from: at(1_500) }));
    let now = activate(&made, &[], None, None, at(0)).unwrap();
    let again = activate(&made, &[now], Some(at(9)), None, at(5));
    assert_eq!(again, Err(Refusal::AlreadyInForce));
    assert!(again.unwrap_err().to_string().contains("roll it back"));
}

#[test]
fn one_roll_back_after_another_goes_back_in_time() {
    let of = |number| Version::clone(&accept(number, Scope::default(), 10));
    let mut made = Vec::new();
    for number in 1..=3 {
        let activation = activate(&of(number), &made, None, None, at(number * 10)).unwrap();
        made.push(activation);
    }
    let mut roll_back_at = |second| {
        let back = roll_back(&made, at(second))?;
        let ended = made.iter_mut().find(|made| made.number == back.ended.number).unwrap();
        *ended = back.ended;
        Ok((back.ended.policy, back.in_force))
    };
    assert_eq!(roll_back_at(40), Ok((id(3), Some(id(2)))));
    assert_eq!(roll_back_at(50), Ok((id(2), Some(id(1)))), "not the one that was rolled back before");
    assert_eq!(roll_back_at(60), Ok((id(1), None)));
    assert_eq!(roll_back_at(70), Err(Refusal::NotInForce { next: None }));
    let spans = in_force(&made);
    assert_eq!(spans[&id(1)], [span(10, Some(20)), span(50, Some(60))]);
    assert_eq!(spans[&id(2)], [span(20, Some(30)), span(40, Some(50))]);
    assert_eq!(spans[&id(3)], [span(30, Some(40))]);
}

#[test]
fn a_storm_with_an_end_is_over_by_itself() {
    let of = |number| Version::clone(&accept(number, Scope::default(), 10));
    let usual = activate(&of(1), &[], None, None, at(0)).unwrap();
    let storm = activate(&of(2), &[usual], Some(at(100)), Some(at(200)), at(50)).unwrap();
    let spans = in_force(&[storm, usual]);
    assert_eq!(spans[&id(1)], [span(0, Some(100)), span(200, None)]);
    assert_eq!(spans[&id(2)], [span(100, Some(200))]);
    let back = roll_back(&[usual, storm], at(150)).unwrap();
    assert_eq!((back.ended.policy, back.in_force), (id(2), Some(id(1))));
    assert_eq!(in_force(&[usual, back.ended])[&id(1)], [span(0, Some(100)), span(150, None)]);
    let refusal = roll_back(&[storm], at(50)).unwrap_err();
    assert_eq!(refusal, Refusal::NotInForce { next: Some(at(100)) });
    assert!(refusal.to_string().ends_with("and can be withdrawn before"), "{refusal}");
}

#[test]
fn names_read_back() {
    for kind in Kind::ALL {
        assert_eq!(Kind::parse(kind.name()), Some(kind));
    }
    assert_eq!(Kind::parse("clocks"), None);
}
