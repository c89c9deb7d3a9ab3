//! What a cart can be promised: nodes with the stock are found in memory, the nearest are asked what they can do. A group
//! that no node can serve alone may be shared by several ([`super::share`]), if its caller allows that.

use domain::fulfillment::method::Method;
use domain::id::{NodeId, Sku};
use domain::network::capacity::Slot;
use domain::policy::Asked;
use domain::promise::plan::{self, Legs, Place, ResourceKind, Taken};
use domain::promise::{Reason, Refused};
use domain::sourcing::cost::{Facts, Weights};
use domain::sourcing::{self, Candidate, Decision};
use jiff::{SignedDuration, Timestamp};

use crate::Fulfillment;
use crate::error::Error;
use crate::network::index::{Index, Key};
use crate::promise::answer::{Able, Answer, Planned, Unable};
use crate::promise::command::{Group, HoldCommand, Limits, Line, Question};
use crate::promise::round::{MOST_NAMED, Reach, Round};

/// How many nodes are asked for each option wanted, before the rest is looked at.
const ASKED_PER_OPTION: usize = 4;
/// The most nodes asked for one cart and method.
pub(super) const MOST_ASKED: usize = 400;
/// The most alternatives to a node that was asked for.
const ALTERNATIVES: usize = 3;
/// The most SKUs of one cart that inventory is asked about.
const MOST_LOOKUPS: usize = 20;

/// A node that was asked, with what a decision weighs.
type Found = (Able, Facts);

/// A node that is to serve some of a group, how it was chosen, and its pieces.
pub(super) type Served = (Able, Decision, Vec<Line>);

impl Fulfillment {
    /// What the cart can be promised.
    pub(crate) async fn promises(&self, question: Question) -> Result<Answer, Error> {
        let unknown = self.learn(question.lines.iter().map(|line| &line.sku)).await?;
        let now = self.clock.business();
        let mut answer = Answer::default();
        if !unknown.is_empty() {
            let refused = Refused::because(Reason::UnknownSku);
            let lacking = unknown.get(..MOST_NAMED).unwrap_or(&unknown);
            return Ok(refuse_all(&question, question.node.as_ref(), &refused, lacking));
        }
        let index = self.network.index();
        let reach = match self.reach(&index, &question.limits) {
            Ok(reach) => reach,
            Err(refused) => {
                return Ok(refuse_all(&question, question.limits.near.as_ref(), &refused, &[]));
            }
        };
        let stock = self.atp.read();
        let needs = stock.needs(items(&question.lines));
        let (used, book) = (self.load.read(), self.policies.book());
        let all = Round {
            index: &index,
            stock: stock.through(question.channel.as_deref()),
            used: &used,
            needs: &needs,
            units: pieces(&question.lines),
            method: Method::Pickup,
            place: question.place.or(reach.centre),
            reach: &reach,
            wanted: question.wanted,
            taken: &Taken::default(),
            book: &book,
            channel: question.channel.as_deref(),
            now,
        };
        for method in question.methods.iter().copied() {
            let round = Round { method, ..all };
            match &question.node {
                None => self.anywhere(&round, question.most, &mut answer),
                Some(node) => self.at_node(&round, node, &mut answer),
            }
        }
        Ok(answer)
    }

    fn anywhere(&self, round: &Round<'_>, most: usize, answer: &mut Answer) {
        let (options, refused) = self.best(round, most, &[]);
        if options.is_empty() && !round.index.is_offered(round.method) {
            let refused = Refused::because(Reason::MethodNotOffered);
            let (method, lacking, alternatives) = (round.method, Vec::new(), Vec::new());
            answer.refusals.push(Unable { method, node: None, refused, lacking, alternatives });
        } else if options.is_empty() {
            let mut keys = round.index.by_code().to_vec();
            keys.retain(|key| !round.reach.without.contains(key) && round.is_near(*key));
            let nearest = round.ordered(keys, 1).first().copied();
            let lacking = nearest.map(|key| round.lacking(key)).unwrap_or_default();
            let refused = refused.unwrap_or_else(|| Refused::because(Reason::NoStock));
            let lacking = if refused.first() == Reason::NoStock { lacking } else { Vec::new() };
            let method = round.method;
            answer.refusals.push(Unable { method, node: None, refused, lacking, alternatives: Vec::new() });
        }
        answer.options.extend(options);
    }

    fn at_node(&self, round: &Round<'_>, node: &NodeId, answer: &mut Answer) {
        let key = self.network.keys.find(node.as_str()).filter(|key| round.index.get(*key).is_some());
        let (refused, lacking) = match key {
            None => (Refused::because(Reason::UnknownNode), Vec::new()),
            Some(key) => match round.ask_with_stock(key, self.config.policy()) {
                Ok(able) => return answer.options.push(able),
                Err(refused) => (refused, round.lacking(key)),
            },
        };
        let place = round.place.or_else(|| key.and_then(|key| Some(round.index.get(key)?.position)));
        let round = Round { place, ..*round };
        let (alternatives, _) = self.best(&round, ALTERNATIVES, key.as_slice());
        let method = round.method;
        answer.refusals.push(Unable { method, node: Some(node.clone()), refused, lacking, alternatives });
    }

    /// The best nodes for the cart; without any, the reasons of those that were asked.
    fn best(&self, round: &Round<'_>, most: usize, without: &[Key]) -> (Vec<Able>, Option<Refused>) {
        let (found, refused) = self.found(round, most, without);
        let decision = sourcing::decide(candidates(&found), &self.weights(round), round.now);
        let mut options = Vec::with_capacity(most.min(found.len()));
        for scored in decision.candidates.iter().take(most) {
            options.extend(
                found.iter().find(|(able, _)| able.node.id == scored.node).map(|(able, _)| able.clone()),
            );
        }
        (options, refused)
    }

    /// Nodes that can serve the cart; without any, the reasons of those that were asked.
    fn found(&self, round: &Round<'_>, most: usize, without: &[Key]) -> (Vec<Found>, Option<Refused>) {
        let mut keys = round.stock.nodes_with(round.needs);
        let beyond = round.choose_from(&mut keys, without);
        let mut found: Vec<Found> = Vec::new();
        let mut refused: Option<Refused> = None;
        let policy = self.config.policy();
        for key in round.ordered(keys, MOST_ASKED) {
            if found.len() >= most * ASKED_PER_OPTION {
                break;
            }
            match round.ask(key, policy) {
                Ok(able) => {
                    let facts = round.facts(key, &able);
                    found.push((able, facts));
                }
                Err(more) => {
                    refused = Some(match refused.take() {
                        None => more,
                        Some(so_far) => so_far.and_all(more),
                    });
                }
            }
        }
        (found, refused.or_else(|| beyond.then(|| Refused::because(Reason::OutOfRadius))))
    }

    /// By which weights nodes are compared: those of one decision, so nothing that policies say of single nodes.
    pub(super) fn weights(&self, round: &Round<'_>) -> Weights {
        let (channel, method) = (round.channel, Some(round.method));
        self.weights.with(&round.book.sourcing(&Asked { channel, method, ..Asked::default() }, round.now))
    }

    /// What limits mean in this process.
    fn reach(&self, index: &Index, limits: &Limits) -> Result<Reach, Refused> {
        let key = |node: &NodeId| self.network.keys.find(node.as_str());
        let place = |node: &NodeId| {
            let known = key(node).and_then(|key| index.get(key));
            known.map(|node| node.position).ok_or_else(|| Refused::because(Reason::UnknownNode))
        };
        let centre = limits.near.as_ref().map(place).transpose()?;
        let without = limits.without.iter().filter_map(key).collect();
        Ok(Reach { without, centre, radius_m: limits.radius_m, silent: self.network.silence.all() })
    }

    /// Plans nodes for each group of a cart whose stock inventory will grant or refuse; nodes in `without` were refused
    /// by it before. Each leg comes with the index of its group. The first group that cannot be served refuses the whole plan.
    pub(crate) fn plan(
        &self,
        hold: &HoldCommand,
        without: &[(u32, NodeId)],
        now: Timestamp,
    ) -> Result<Legs<Planned>, (usize, Refused)> {
        let (index, stock, used) = (self.network.index(), self.atp.read(), self.load.read());
        let book = self.policies.book();
        plan::plan(&hold.groups, |_, group, taken| {
            let needs = stock.needs(items(&group.lines));
            let reach = self.reach(&index, &group.limits)?;
            let round = Round {
                index: &index,
                stock: stock.through(hold.channel.as_deref()),
                used: &used,
                needs: &needs,
                units: pieces(&group.lines),
                method: group.method,
                place: group.place.or(reach.centre),
                reach: &reach,
                wanted: group.wanted,
                taken,
                book: &book,
                channel: hold.channel.as_deref(),
                now,
            };
            let whole = |(able, decision)| vec![(able, decision, group.lines.clone())];
            let legs = if let Some(node) = &group.node {
                whole(self.at_named(&round, node)?)
            } else {
                let refused = without.iter().filter(|(number, _)| *number == group.number);
                let keys: Vec<Key> =
                    refused.filter_map(|(_, node)| self.network.keys.find(node.as_str())).collect();
                match self.at_best(&round, &keys) {
                    Ok(best) => whole(best),
                    Err(refused) => self.at_several(&round, group, &keys).ok_or(refused)?,
                }
            };
            let leg = |(able, decision, lines): Served| {
                let key = self.network.keys.find(able.node.id.as_str());
                let version = key.map_or(0, |key| index.version(key));
                let places = places(&able);
                (Planned { able, decision, version, lines }, places)
            };
            Ok(legs.into_iter().map(leg).collect())
        })
    }

    /// What the node that a caller named can do, with the record of the choice: it, among its neighbours.
    fn at_named(&self, round: &Round<'_>, node: &NodeId) -> Result<(Able, Decision), Refused> {
        let unknown = || Refused::because(Reason::UnknownNode);
        let key = self.network.keys.find(node.as_str()).ok_or_else(unknown)?;
        let place = round.place.or(Some(round.index.get(key).ok_or_else(unknown)?.position));
        let round = Round { place, ..*round };
        let policy = self.config.policy();
        let able = round.ask(key, policy)?;
        let mut candidates = vec![Candidate { node: node.clone(), verdict: Ok(round.facts(key, &able)) }];
        for other in round.index.near(key).iter().filter(|other| !round.reach.without.contains(other)) {
            let Some(neighbour) = round.index.get(*other) else { continue };
            let verdict = round.ask_with_stock(*other, policy).map(|able| round.facts(*other, &able));
            let verdict = verdict.map_err(|refused| refused.reasons().to_vec());
            candidates.push(Candidate { node: neighbour.id.clone(), verdict });
        }
        Ok((able, sourcing::given(node, candidates, &self.weights(&round), round.now)))
    }

    /// What the node of least cost can do, with the record of the choice.
    fn at_best(&self, round: &Round<'_>, without: &[Key]) -> Result<(Able, Decision), Refused> {
        let (found, refused) = self.found(round, 1, without);
        let decision = sourcing::decide(candidates(&found), &self.weights(round), round.now);
        let chosen = found.into_iter().find(|(able, _)| decision.chosen.as_ref() == Some(&able.node.id));
        match chosen {
            Some((able, _)) => Ok((able, decision)),
            None if !round.index.is_offered(round.method) => Err(Refused::because(Reason::MethodNotOffered)),
            None => Err(refused.unwrap_or_else(|| Refused::because(Reason::NoStock))),
        }
    }

    /// The nearest other nodes that can serve a group, best first: nearest to the customer, or else to the node.
    pub(crate) fn alternatives(
        &self,
        node: Option<&NodeId>,
        group: &Group,
        channel: Option<&str>,
        now: Timestamp,
    ) -> Vec<NodeId> {
        let index = self.network.index();
        let stock = self.atp.read();
        let key = node.and_then(|node| self.network.keys.find(node.as_str()));
        let place = key.and_then(|key| index.get(key)).map(|node| node.position);
        let needs = stock.needs(items(&group.lines));
        let (used, taken, book) = (self.load.read(), Taken::default(), self.policies.book());
        // Near to a node that does not exist is near to none.
        let Ok(reach) = self.reach(&index, &group.limits) else { return Vec::new() };
        let round = Round {
            index: &index,
            stock: stock.through(channel),
            used: &used,
            needs: &needs,
            units: pieces(&group.lines),
            method: group.method,
            place: group.place.or(place).or(reach.centre),
            reach: &reach,
            wanted: group.wanted,
            taken: &taken,
            book: &book,
            channel,
            now,
        };
        let (options, _) = self.best(&round, ALTERNATIVES, key.as_slice());
        options.into_iter().map(|able| able.node.id.clone()).collect()
    }

    /// Asks inventory about SKUs that the view does not know: they may be new, or kits, or nowhere in stock. Answers
    /// those that do not exist.
    pub(crate) async fn learn(&self, skus: impl Iterator<Item = &Sku>) -> Result<Vec<Sku>, Error> {
        let now = self.clock.wall();
        let (mut unknown, mut ask) = (Vec::new(), Vec::new());
        {
            let stock = self.atp.read();
            if !stock.is_loaded() {
                return Err(Error::ViewLoading);
            }
            for sku in skus {
                if stock.is_unknown(sku.as_str(), now.as_microsecond()) {
                    unknown.push(sku.clone());
                } else if !stock.knows(sku.as_str()) && !ask.contains(sku) && ask.len() < MOST_LOOKUPS {
                    ask.push(sku.clone());
                }
            }
        }
        for sku in ask {
            if !self.ask_about(&sku).await? {
                let until = now + SignedDuration::from_secs(10);
                self.atp.put_unknown(sku.clone(), until.as_microsecond());
                unknown.push(sku);
            }
        }
        Ok(unknown)
    }
}

/// Every method that was asked for is refused for the same reason.
fn refuse_all(question: &Question, node: Option<&NodeId>, refused: &Refused, lacking: &[Sku]) -> Answer {
    let refusal = |method: &Method| Unable {
        method: *method,
        node: node.cloned(),
        refused: refused.clone(),
        lacking: lacking.to_vec(),
        alternatives: Vec::new(),
    };
    Answer { options: Vec::new(), refusals: question.methods.iter().map(refusal).collect() }
}

/// What lines are of, and how much.
pub(super) fn items(lines: &[Line]) -> impl Iterator<Item = (&Sku, i64)> {
    lines.iter().map(|line| (&line.sku, line.quantity))
}

/// How many pieces lines have.
pub(super) fn pieces(lines: &[Line]) -> i64 {
    lines.iter().fold(0, |all, line| all.saturating_add(line.quantity))
}

/// What a decision weighs of each node.
fn candidates(found: &[Found]) -> Vec<Candidate> {
    let candidate = |(able, facts): &Found| Candidate { node: able.node.id.clone(), verdict: Ok(*facts) };
    found.iter().map(candidate).collect()
}

/// The capacity that an offer takes.
fn places(able: &Able) -> Vec<Place> {
    let place = |slot: Slot| Place {
        kind: ResourceKind::Node,
        resource: able.node.id.to_string(),
        work: able.method.rules().activity.name().to_owned(),
        start: slot.start,
        amount: able.offer.amount,
    };
    able.offer.slot.map(place).into_iter().collect()
}
