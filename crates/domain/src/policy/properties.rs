//! Laws of policies, whatever versions, activations and questions come in whatever order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::testing::{accept, at, id, minutes, node, span};
use super::*;
use crate::fulfillment::method::Method;
use crate::network;

/// What a scope may name here: few values, so that scopes meet.
fn scope() -> impl Strategy<Value = Scope> {
    let one_of = |values: &'static [&'static str]| prop::option::of(prop::sample::select(values));
    let kinds: &[network::Kind] = &[network::Kind::Store, network::Kind::Locker];
    (
        one_of(&["N1", "N2", "N3"]),
        one_of(&["even", "all"]),
        prop::option::of(prop::sample::select(kinds)),
        one_of(&["web", "pos"]),
        prop::option::of(1u8..3),
        prop::option::of(Just(Method::Pickup)),
    )
        .prop_map(|(code, group, kind, channel, tier, method)| Scope {
            node: code.map(node),
            group: group.map(str::to_owned),
            kind,
            channel: channel.map(str::to_owned),
            tier,
            method,
            ..Scope::default()
        })
}

/// Versions with different scopes, each in force for a while.
fn versions() -> impl Strategy<Value = Vec<Arc<Version>>> {
    let body = (prop::option::of(1i64..60), prop::option::of(60i64..600));
    let one = (scope(), body, 0i64..50, prop::option::of(1i64..50));
    prop::collection::vec(one, 1..40).prop_map(|versions| {
        let mut scopes = BTreeSet::new();
        let mut number = 0;
        let mut kept = Vec::new();
        for (scope, (accept, keep), from, length) in versions {
            if scopes.insert(scope.key()) {
                number += 1;
                let in_force = vec![span(from, length.map(|length| from + length))];
                let [accept, keep] = [accept, keep].map(|length| length.map(minutes));
                let body = Body::Clocks(ClocksBody { accept, keep, ..ClocksBody::default() });
                let id = id(number);
                let valid = Valid::default();
                kept.push(Arc::new(Version { id, version: number, scope, valid, in_force, body }));
            }
        }
        kept
    })
}

fn book(versions: Vec<Arc<Version>>) -> Book {
    let facts = |kind| NodeFacts { kind, tags: BTreeSet::new() };
    let nodes = [
        (node("N1"), facts(network::Kind::Store)),
        (node("N2"), facts(network::Kind::Locker)),
        (node("N3"), facts(network::Kind::Store)),
    ];
    let group = |code: &str, nodes: &[&str]| Group {
        code: code.to_owned(),
        nodes: nodes.iter().map(|code| node(code)).collect(),
        tags: BTreeSet::new(),
    };
    Book::new(versions, [group("even", &["N2"]), group("all", &["N1", "N2", "N3"])], nodes)
}

/// A question as owned values.
fn asked() -> impl Strategy<Value = (Option<NodeIdText>, Option<&'static str>, Option<u8>, Option<Method>)> {
    (
        prop::option::of(prop::sample::select(&["N1", "N2", "N3", "N4"][..])),
        prop::option::of(prop::sample::select(&["web", "pos", "app"][..])),
        prop::option::of(1u8..4),
        prop::option::of(Just(Method::Pickup)),
    )
}

type NodeIdText = &'static str;

proptest! {
    #[test]
    fn the_answer_is_the_most_specific_one_field_by_field_in_whatever_order_the_versions_come(
        versions in versions(),
        asked in asked(),
        second in 0i64..100,
        swaps in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..20),
    ) {
        let code = asked.0.map(node);
        let asked = Asked { node: code.as_ref(), channel: asked.1, tier: asked.2, method: asked.3, ..Asked::default() };
        let mut shuffled = versions.clone();
        for (a, b) in swaps {
            let (a, b) = (a.index(shuffled.len()), b.index(shuffled.len()));
            shuffled.swap(a, b);
        }
        let (book, other) = (book(versions.clone()), book(shuffled));
        let answer = book.clocks(&asked, at(second));
        prop_assert_eq!(answer, other.clocks(&asked, at(second)));
        prop_assert_eq!(book.explain(Kind::Clocks, &asked, at(second)), other.explain(Kind::Clocks, &asked, at(second)));

        // The same without an index: every version looked at.
        let is_in = |group: &str| code.as_ref().is_some_and(|code| book.is_member(code, group));
        let kind = code.as_ref().and_then(|code| book.node_kind(code));
        let mut fitting: Vec<&Arc<Version>> = versions
            .iter()
            .filter(|version| version.is_in_force(at(second)) && version.scope.fits(&asked, kind, is_in))
            .collect();
        fitting.sort_by_key(|version| (u8::MAX - version.scope.rank(), version.scope.key()));
        let first = |field: fn(&ClocksBody) -> Option<SignedDuration>| {
            fitting.iter().find_map(|version| match &version.body {
                Body::Clocks(body) => Some(Field { value: field(body)?, version: version.version }),
                _ => None,
            })
        };
        prop_assert_eq!(answer.accept, first(|body| body.accept));
        prop_assert_eq!(answer.keep, first(|body| body.keep));
        let candidates = book.explain(Kind::Clocks, &asked, at(second)).candidates;
        prop_assert_eq!(candidates.iter().collect::<Vec<_>>(), fitting.clone());

        // Two of equal rank fit only where their groups share a node, and the book says so beforehand.
        for pair in fitting.windows(2).filter(|pair| pair[0].scope.rank() == pair[1].scope.rank()) {
            let found = book.ambiguous_with(Kind::Clocks, &pair[0].scope, pair[0].valid, at(0));
            prop_assert!(found.is_some(), "{:?} {:?}", pair[0].scope, pair[1].scope);
        }
    }

    #[test]
    fn scopes_with_one_text_are_equal_and_of_one_rank(a in scope(), b in scope()) {
        prop_assert_eq!(a.key() == b.key(), a == b);
        prop_assert!(a != b || a.rank() == b.rank());
    }
}

/// What somebody does with the versions of one scope.
#[derive(Debug, Clone)]
enum Step {
    Activate { version: i64, after: Option<i64>, length: Option<i64> },
    RollBack,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1i64..5, prop::option::of(0i64..30), prop::option::of(1i64..40))
            .prop_map(|(version, after, length)| Step::Activate { version, after, length }),
        1 => Just(Step::RollBack),
    ]
}

/// The version that is in force at each second.
fn by_second(made: &[Activation]) -> Vec<Option<Uuid>> {
    let spans = in_force(made);
    (0..400)
        .map(|second| {
            let holds = |spans: &Vec<Span>| spans.iter().any(|span| span.contains(at(second)));
            let here: Vec<Uuid> = spans.iter().filter(|(_, spans)| holds(spans)).map(|(id, _)| *id).collect();
            assert!(here.len() <= 1, "at most one version of a scope is in force: {here:?} at {second}");
            here.first().copied()
        })
        .collect()
}

proptest! {
    #[test]
    fn activations_and_roll_backs_change_only_what_they_are_for_and_never_the_past(
        steps in prop::collection::vec((step(), 0i64..12), 1..25),
    ) {
        let mut made: Vec<Activation> = Vec::new();
        let mut kept: BTreeMap<Uuid, Vec<Span>> = BTreeMap::new();
        let mut now = 0;
        for (step, pause) in steps {
            now += pause;
            let before = by_second(&made);
            let second = usize::try_from(now).unwrap();
            match step {
                Step::Activate { version, after, length } => {
                    let from = after.map(|after| now + after);
                    let until = length.map(|length| from.unwrap_or(now) + length);
                    let version = Version::clone(&accept(version, Scope::default(), 10));
                    let Ok(activation) = activate(&version, &made, from.map(at), until.map(at), at(now)) else {
                        continue;
                    };
                    made.push(activation);
                    let within = |second: usize| activation.span.contains(at(i64::try_from(second).unwrap()));
                    for (i, is) in by_second(&made).into_iter().enumerate() {
                        // Its own time is its own; before and after it the others go on as they would have.
                        prop_assert_eq!(is, if within(i) { Some(version.id) } else { before[i] }, "at {}", i);
                    }
                }
                Step::RollBack => {
                    if let Ok(back) = roll_back(&made, at(now)) {
                        prop_assert_eq!(before[second], Some(back.ended.policy));
                        let ended = made.iter_mut().find(|made| made.number == back.ended.number).unwrap();
                        *ended = back.ended;
                        prop_assert_eq!(by_second(&made)[second], back.in_force);
                    }
                    else { prop_assert_eq!(before[second], None) }
                },
            }
            let after = by_second(&made);
            prop_assert_eq!(&after[..second], &before[..second], "the past stays");
            // Who keeps the spans and forgets the activations that are over knows the same.
            let left = made.iter().filter(|made| made.span.until.is_none_or(|until| at(now) < until));
            let ahead = in_force(&left.copied().collect::<Vec<_>>());
            for id in made.iter().map(|made| made.policy) {
                let of_id = |all: &BTreeMap<Uuid, Vec<Span>>| all.get(&id).cloned().unwrap_or_default();
                kept.insert(id, continued(&of_id(&kept), &of_id(&ahead), at(now)));
                prop_assert_eq!(of_id(&kept), of_id(&in_force(&made)));
            }
            let buried = buried(&made, 2, at(now));
            let dig = |made: &Activation| {
                let until = buried.contains(&made.number).then_some(made.span.from.max(at(now)));
                Activation { span: Span { until: until.or(made.span.until), ..made.span }, ..*made }
            };
            let lighter: Vec<Activation> = made.iter().map(dig).collect();
            prop_assert_eq!(&by_second(&lighter), &after, "what is buried does not show");
        }
        // Enough roll backs end everything that is in force: none comes back twice.
        let mut left = made.len() + 1;
        while let Ok(back) = roll_back(&made, at(now)) {
            let ended = made.iter_mut().find(|made| made.number == back.ended.number).unwrap();
            *ended = back.ended;
            left -= 1;
            prop_assert!(left > 0);
        }
    }
}
