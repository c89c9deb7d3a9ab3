//! What a cart can be promised: nodes with the stock are found in memory, the nearest are asked what they can do.

use domain::fulfillment::method::Method;
use domain::id::{NodeId, Sku};
use domain::place::LatLng;
use domain::promise::{self, Ask, Offer, Reason, Refused};
use domain::sourcing::cost::Facts;
use domain::sourcing::{self, Candidate, Decision};
use jiff::{SignedDuration, Timestamp};

use crate::Fulfillment;
use crate::error::Error;
use crate::network::index::{Index, Key, nearest_first, point};
use crate::network::load::Used;
use crate::promise::answer::{Able, Answer, Unable};
use crate::promise::command::{Line, Question};
use crate::promise::stock_view::{Need, Stock};

/// How many nodes are asked for each option wanted, before the rest is looked at.
const ASKED_PER_OPTION: usize = 4;
/// The most nodes asked for one cart and method.
const MOST_ASKED: usize = 400;
/// The most SKUs named in a refusal.
const MOST_NAMED: usize = 10;
/// The most alternatives to a node that was asked for.
const ALTERNATIVES: usize = 3;
/// The most SKUs of one cart that inventory is asked about.
const MOST_LOOKUPS: usize = 20;

/// What is asked of every node for one method.
#[derive(Clone, Copy)]
struct Round<'a> {
    index: &'a Index,
    stock: &'a Stock,
    used: &'a Used<'a>,
    needs: &'a [Need],
    method: Method,
    place: Option<LatLng>,
    now: Timestamp,
}

impl Fulfillment {
    /// What the cart can be promised.
    pub(crate) async fn promises(&self, question: Question) -> Result<Answer, Error> {
        let unknown = self.learn(question.lines.iter().map(|line| &line.sku)).await?;
        let now = self.clock.business();
        let mut answer = Answer::default();
        if !unknown.is_empty() {
            for method in question.methods {
                answer.refusals.push(Unable {
                    method,
                    node: question.node.clone(),
                    refused: Refused::because(Reason::UnknownSku),
                    lacking: unknown.iter().take(MOST_NAMED).cloned().collect(),
                    alternatives: Vec::new(),
                });
            }
            return Ok(answer);
        }
        let index = self.network.index();
        let stock = self.atp.read();
        let needs = stock.needs(question.lines.iter().map(|line| (&line.sku, line.quantity)));
        let used = self.load.read();
        for method in question.methods.iter().copied() {
            let place = question.place;
            let round =
                Round { index: &index, stock: &stock, used: &used, needs: &needs, method, place, now };
            match &question.node {
                None => self.anywhere(&round, question.most, &mut answer),
                Some(node) => self.at_node(&round, node, &mut answer),
            }
        }
        Ok(answer)
    }

    fn anywhere(&self, round: &Round<'_>, most: usize, answer: &mut Answer) {
        let (options, refused) = self.best(round, most, None);
        if options.is_empty() && !round.index.is_offered(round.method) {
            let refused = Refused::because(Reason::MethodNotOffered);
            let (method, lacking, alternatives) = (round.method, Vec::new(), Vec::new());
            answer.refusals.push(Unable { method, node: None, refused, lacking, alternatives });
        } else if options.is_empty() {
            let nearest = round.ordered(round.index.by_code().to_vec(), 1).first().copied();
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
        let (alternatives, _) = self.best(&round, ALTERNATIVES, key);
        let method = round.method;
        answer.refusals.push(Unable { method, node: Some(node.clone()), refused, lacking, alternatives });
    }

    /// The best nodes for the cart; without any, the reasons of those that were asked.
    fn best(&self, round: &Round<'_>, most: usize, without: Option<Key>) -> (Vec<Able>, Option<Refused>) {
        let mut keys = round.stock.nodes_with(round.needs);
        keys.retain(|key| Some(*key) != without && round.index.offers(*key, round.method));
        let mut found: Vec<(Able, Facts)> = Vec::new();
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
                        Some(so_far) => more.reasons().iter().fold(so_far, |all, reason| all.and(*reason)),
                    });
                }
            }
        }
        let candidates = found
            .iter()
            .map(|(able, facts)| Candidate { node: able.node.id.clone(), verdict: Ok(*facts) })
            .collect();
        let decision = sourcing::decide(candidates, &self.weights, round.now);
        let mut options = Vec::with_capacity(most.min(found.len()));
        for scored in decision.candidates.iter().take(most) {
            options.extend(
                found.iter().find(|(able, _)| able.node.id == scored.node).map(|(able, _)| able.clone()),
            );
        }
        (options, refused)
    }

    /// What one node can do for a cart whose stock inventory will grant or refuse, with the record of the choice:
    /// the node that the caller named, among its neighbours.
    pub(crate) fn plan(
        &self,
        node: &NodeId,
        method: Method,
        lines: &[Line],
        now: Timestamp,
    ) -> Result<(Offer, Decision), Refused> {
        let unknown = || Refused::because(Reason::UnknownNode);
        let key = self.network.keys.find(node.as_str()).ok_or_else(unknown)?;
        let index = self.network.index();
        let stock = self.atp.read();
        let needs = stock.needs(lines.iter().map(|line| (&line.sku, line.quantity)));
        let place = Some(index.get(key).ok_or_else(unknown)?.position);
        let used = self.load.read();
        let round = Round { index: &index, stock: &stock, used: &used, needs: &needs, method, place, now };
        let policy = self.config.policy();
        let able = round.ask(key, policy)?;
        let mut candidates = vec![Candidate { node: node.clone(), verdict: Ok(round.facts(key, &able)) }];
        for other in index.near(key) {
            let Some(neighbour) = index.get(*other) else { continue };
            let verdict = round.ask_with_stock(*other, policy).map(|able| round.facts(*other, &able));
            let verdict = verdict.map_err(|refused| refused.reasons().to_vec());
            candidates.push(Candidate { node: neighbour.id.clone(), verdict });
        }
        Ok((able.offer, sourcing::given(node, candidates, &self.weights, now)))
    }

    /// The nearest other nodes that can serve the cart, best first.
    pub(crate) fn alternatives(
        &self,
        node: &NodeId,
        method: Method,
        lines: &[Line],
        now: Timestamp,
    ) -> Vec<NodeId> {
        let index = self.network.index();
        let stock = self.atp.read();
        let key = self.network.keys.find(node.as_str());
        let place = key.and_then(|key| index.get(key)).map(|node| node.position);
        let needs = stock.needs(lines.iter().map(|line| (&line.sku, line.quantity)));
        let used = self.load.read();
        let round = Round { index: &index, stock: &stock, used: &used, needs: &needs, method, place, now };
        let (options, _) = self.best(&round, ALTERNATIVES, key);
        options.into_iter().map(|able| able.node.id.clone()).collect()
    }

    /// Asks inventory about SKUs that the view does not know: they may be new, or kits, or nowhere in stock. Answers
    /// those that do not exist.
    async fn learn(&self, skus: impl Iterator<Item = &Sku>) -> Result<Vec<Sku>, Error> {
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

impl Round<'_> {
    /// What the node can do, if it has the goods.
    fn ask(&self, key: Key, policy: promise::Policy) -> Result<Able, Refused> {
        let Some(timed) = self.index.timed(key, self.now) else {
            return Err(Refused::because(Reason::UnknownNode));
        };
        let node = &timed.node;
        let distance_m = self.place.map(|place| place.distance_m(node.position));
        let ask = Ask { method: self.method, now: self.now, distance_m };
        let activity = self.method.rules().activity;
        let used = |start| self.used.of(key, activity, start);
        let offer = promise::offer(node, timed.openings(), ask, policy, used)?;
        Ok(Able { method: self.method, node: timed.node, offer, distance_m })
    }

    /// What the node can do, also as far as stock goes.
    fn ask_with_stock(&self, key: Key, policy: promise::Policy) -> Result<Able, Refused> {
        let able = self.ask(key, policy);
        let has_stock = self.stock.depth(key, self.needs) > 0;
        match able {
            Ok(able) if has_stock => Ok(able),
            Ok(_) => Err(Refused::because(Reason::NoStock)),
            Err(refused) if has_stock => Err(refused),
            Err(refused) => Err(refused.and(Reason::NoStock)),
        }
    }

    fn facts(&self, key: Key, able: &Able) -> Facts {
        let activity = self.method.rules().activity;
        let load_percent = able.offer.slot.zip(able.node.rule(activity)).map_or(0, |(slot, rule)| {
            self.used.of(key, activity, slot.start).saturating_mul(100) / rule.max_orders().max(1)
        });
        let depth = self.stock.depth(key, self.needs);
        Facts { distance_m: able.distance_m, ready: able.offer.ready, load_percent, depth }
    }

    fn lacking(&self, key: Key) -> Vec<Sku> {
        self.stock.lacking(key, self.needs).into_iter().take(MOST_NAMED).cloned().collect()
    }

    /// At most `most` of the nodes: the nearest first, or in the order of their codes when no place is known.
    fn ordered(&self, keys: Vec<Key>, most: usize) -> Vec<Key> {
        let Some(place) = self.place else { return self.by_code(&keys, most) };
        let from = point(place);
        let mut ways: Vec<(f32, Key)> =
            keys.into_iter().filter_map(|key| Some((self.index.nearness(key, from)?, key))).collect();
        nearest_first(&mut ways, most);
        ways.into_iter().map(|(_, key)| key).collect()
    }

    /// Walks the codes and picks those that are among `keys`, which are sorted.
    fn by_code(&self, keys: &[Key], most: usize) -> Vec<Key> {
        let mut sorted = keys.to_vec();
        sorted.sort_unstable();
        let among = |key: &&Key| sorted.binary_search(key).is_ok();
        self.index.by_code().iter().filter(among).take(most).copied().collect()
    }
}
