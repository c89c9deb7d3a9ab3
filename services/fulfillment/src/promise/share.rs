//! A group that several nodes serve together.

use domain::promise::{Reason, split};
use domain::sourcing::{self, Candidate};

use super::ask::{MOST_ASKED, Served, items, pieces};
use super::round::Round;
use crate::Fulfillment;
use crate::network::index::Key;
use crate::promise::answer::Able;
use crate::promise::command::{Group, Line};
use crate::promise::stock_view::Need;

/// How many nodes are looked at that may share a group.
const SHARING: usize = 20;

impl Fulfillment {
    /// What several nodes can do together that have parts of a group, each with its pieces and the record of the choice. The
    /// nearest are looked at.
    pub(super) fn at_several(
        &self,
        round: &Round<'_>,
        group: &Group,
        without: &[Key],
    ) -> Option<Vec<Served>> {
        if group.parts < 2 {
            return None;
        }
        let mut keys = round.stock.nodes_with_any(round.needs);
        round.choose_from(&mut keys, without);
        let policy = self.config.policy();
        // How much of the group a node serves is not known yet: whether it can serve a single piece is.
        let one = Round { units: 1, ..*round };
        let able = round.ordered(keys, MOST_ASKED).into_iter();
        let able = able.filter_map(|key| Some((key, one.ask(key, policy).ok()?))).take(SHARING);
        let able: Vec<(Key, Able)> = able.collect();
        let piece = |line: &Line| (round.stock.needs([(&line.sku, 1)]), line.quantity);
        let each: Vec<(Vec<Need>, i64)> = group.lines.iter().map(piece).collect();
        let share = |(key, able): &(Key, Able)| {
            let rule = able.node.rule(round.method.rules().activity);
            let most = rule.map_or(i64::MAX, |rule| rule.most().units());
            split::at_most(round.stock.share(*key, &each), most)
        };
        let mut has: Vec<Vec<i64>> = able.iter().map(share).collect();
        let wanted: Vec<i64> = group.lines.iter().map(|line| line.quantity).collect();
        // Each try that fails leaves one node out.
        for _ in 0..=able.len() {
            let parts = split::cover(&wanted, &has, group.parts)?;
            let serve = |(at, share): &split::Part| {
                let lines = group.lines.iter().zip(share).filter(|(_, share)| **share > 0);
                let lines = lines.map(|(line, share)| Line { quantity: *share, ..line.clone() });
                let lines: Vec<Line> = lines.collect();
                let whole = Round { units: pieces(&lines), ..*round };
                whole.ask(able[*at].0, policy).map(|chosen| (chosen, lines)).map_err(|_| *at)
            };
            match parts.iter().map(serve).collect::<Result<Vec<_>, usize>>() {
                Ok(served) => {
                    return Some(served.into_iter().map(|part| self.recorded(round, &able, part)).collect());
                }
                Err(at) => has[at].fill(0),
            }
        }
        None
    }

    /// What a node serves of a group, with the record of the choice among those that could.
    fn recorded(
        &self,
        round: &Round<'_>,
        able: &[(Key, Able)],
        (chosen, lines): (Able, Vec<Line>),
    ) -> Served {
        let needs = round.stock.needs(items(&lines));
        let round = Round { needs: &needs, ..*round };
        let candidate = |(key, able): &(Key, Able)| {
            let able = if able.node.id == chosen.node.id { &chosen } else { able };
            let facts = round.facts(*key, able);
            let verdict = if facts.depth > 0 { Ok(facts) } else { Err(vec![Reason::NoStock]) };
            Candidate { node: able.node.id.clone(), verdict }
        };
        let candidates = able.iter().map(candidate).collect();
        let decision = sourcing::given(&chosen.node.id, candidates, &self.weights(&round), round.now);
        (chosen, decision, lines)
    }
}
