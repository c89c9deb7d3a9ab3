//! Sourcing: which node serves a cart, and the record of why.
//!
//! Always true: a decision depends on its inputs only, also not on their order; equal costs are decided by the code
//! of the node; every node that was looked at is in the record, with its cost or with the reasons of its exclusion.

pub mod cost;

use jiff::Timestamp;

use crate::id::NodeId;
use crate::promise::Reason;
use cost::{Cost, Facts, Weights};

/// A node that was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// What it can do, or the reasons why it is out.
    pub verdict: Result<Facts, Vec<Reason>>,
}

/// A node in the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scored {
    /// The node.
    pub node: NodeId,
    /// Its cost and when it could be ready; or the reasons why it is out.
    pub verdict: Result<(Cost, Timestamp), Vec<Reason>>,
}

/// The record of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Which rules were used.
    pub rule_version: String,
    /// When.
    pub at: Timestamp,
    /// The chosen node; `None`: none could serve.
    pub chosen: Option<NodeId>,
    /// Every node that was looked at: those that can serve by rising cost, then the others by code.
    pub candidates: Vec<Scored>,
}

/// Chooses the node of least cost.
pub fn decide(candidates: Vec<Candidate>, weights: &Weights, now: Timestamp) -> Decision {
    let mut candidates: Vec<Scored> = candidates
        .into_iter()
        .map(|candidate| Scored {
            node: candidate.node,
            verdict: candidate.verdict.map(|facts| (Cost::of(facts, weights, now), facts.ready)),
        })
        .collect();
    candidates.sort_by(|a, b| rank(a).cmp(&rank(b)));
    let chosen = candidates.first().filter(|best| best.verdict.is_ok()).map(|best| best.node.clone());
    Decision { rule_version: weights.version.clone(), at: now, chosen, candidates }
}

/// Records that the caller chose this node itself; the others were looked at beside it.
pub fn given(node: &NodeId, candidates: Vec<Candidate>, weights: &Weights, now: Timestamp) -> Decision {
    let mut decision = decide(candidates, weights, now);
    let able = decision.candidates.iter().any(|c| c.node == *node && c.verdict.is_ok());
    decision.chosen = able.then(|| node.clone());
    decision
}

fn rank(candidate: &Scored) -> (i64, &NodeId) {
    let cost = candidate.verdict.as_ref().map_or(i64::MAX, |(cost, _)| cost.total().min(i64::MAX - 1));
    (cost, &candidate.node)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_767_225_600).unwrap()
    }

    fn node(name: &str) -> NodeId {
        NodeId::new(name).unwrap()
    }

    fn facts() -> Facts {
        Facts { distance_m: Some(1_000.0), ready: now(), load_percent: 0, depth: 100 }
    }

    fn able(name: &str, facts: Facts) -> Candidate {
        Candidate { node: node(name), verdict: Ok(facts) }
    }

    fn chosen(candidates: Vec<Candidate>) -> Option<NodeId> {
        decide(candidates, &Weights::default(), now()).chosen
    }

    #[test]
    fn the_nearer_node_wins_if_all_else_is_equal() {
        let far = Facts { distance_m: Some(2_000.0), ..facts() };
        assert_eq!(chosen(vec![able("a", far), able("b", facts())]), Some(node("b")));
    }

    #[test]
    fn load_waiting_and_the_last_unit_cost_something() {
        for worse in [
            Facts { load_percent: 90, ..facts() },
            Facts { ready: now() + jiff::SignedDuration::from_hours(2), ..facts() },
            Facts { depth: 1, ..facts() },
        ] {
            assert_eq!(chosen(vec![able("a", worse), able("b", facts())]), Some(node("b")), "{worse:?}");
        }
    }

    #[test]
    fn equal_costs_are_decided_by_the_code() {
        assert_eq!(chosen(vec![able("b", facts()), able("a", facts())]), Some(node("a")));
    }

    #[test]
    fn an_excluded_node_is_recorded_and_never_chosen() {
        let out = Candidate { node: node("a"), verdict: Err(vec![Reason::NoStock]) };
        let decision = decide(vec![out.clone(), able("b", facts())], &Weights::default(), now());
        assert_eq!(decision.chosen, Some(node("b")));
        assert_eq!(decision.candidates[1].verdict, Err(vec![Reason::NoStock]));
        assert_eq!(chosen(vec![out]), None);
        assert_eq!(chosen(Vec::new()), None);
    }

    #[test]
    fn a_node_that_the_caller_named_is_recorded_among_the_others() {
        let far = Facts { distance_m: Some(9_000.0), ..facts() };
        let decision =
            given(&node("a"), vec![able("a", far), able("b", facts())], &Weights::default(), now());
        assert_eq!(decision.chosen, Some(node("a")));
        assert_eq!(decision.candidates[0].node, node("b"), "the record says that b would have been better");
    }

    proptest! {
        #[test]
        fn a_decision_does_not_depend_on_the_order_of_its_candidates(
            nodes in proptest::collection::btree_map(
                "[a-z]{1,4}", (0.0f64..50_000.0, 0i64..10_000, 0u32..100, 1i64..50, any::<bool>()), 0..20,
            ),
            swap in any::<prop::sample::Index>(),
        ) {
            let candidates: Vec<Candidate> = nodes.into_iter().map(|(name, (distance, wait, load, depth, ok))| {
                let facts = Facts {
                    distance_m: Some(distance),
                    ready: now() + jiff::SignedDuration::from_mins(wait),
                    load_percent: load,
                    depth,
                };
                let verdict = if ok { Ok(facts) } else { Err(vec![Reason::CapacityFull]) };
                Candidate { node: node(&name), verdict }
            }).collect();
            let mut turned = candidates.clone();
            if !turned.is_empty() {
                let by = swap.index(turned.len());
                turned.rotate_left(by);
            }
            let weights = Weights::default();
            let decision = decide(candidates.clone(), &weights, now());
            prop_assert_eq!(&decision, &decide(turned, &weights, now()));
            prop_assert_eq!(decision.candidates.len(), candidates.len());
            prop_assert_eq!(decision.chosen.is_some(), candidates.iter().any(|c| c.verdict.is_ok()));
        }
    }
}
