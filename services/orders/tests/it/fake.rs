//! Fulfillment's promises, as orders sees them: holds by request id, refusals on demand.

use std::collections::HashMap;
use std::ops::Deref;

use clock::Clock;
use contract::fulfillment::v1 as pb;
use contract::r#type::v1::{LineQuantity, Method, StoredEvent, Window};
use domain::id::{FulfillmentId, PromiseToken, Uuid};
use domain::time::{after_ms, from_parts};
use server::{Reason, Violation};
use test_world::{stamp, v7};
use tonic::{Code, Status};

/// What the stand-in knows.
pub(crate) struct Books {
    clock: Clock,
    by_request: HashMap<String, Uuid>,
    promises: HashMap<Uuid, pb::Promise>,
    refusal: Option<(Code, &'static str)>,
    unknown: Vec<String>,
    ends_at_once: bool,
    events: Vec<StoredEvent>,
    /// Holds that were asked for, also in vain.
    asked: Vec<pb::HoldPromiseRequest>,
    /// Nodes that refuse, and why.
    refusing: HashMap<String, &'static str>,
    /// SKUs that no node has.
    lacking: Vec<String>,
    /// Whether a refusal names the SKU that ran out, as inventory's does.
    names_skus: bool,
    /// Nodes that offer nothing until they have counted.
    counting: Vec<String>,
    /// In how many hours goods are ready that are asked for now.
    ready_h: i64,
    /// The methods that are offered when it is asked what can be promised.
    methods: Vec<Method>,
}

/// The nodes and how far they are from the first, in metres: the nearest first.
const NODES: [(&str, i64); 6] = [
    ("store-1", 0),
    ("store-2", 1_000),
    ("store-3", 3_000),
    ("store-4", 9_000),
    ("store-5", 20_000),
    ("store-6", 50_000),
];

/// The stand-in.
#[derive(Clone)]
pub(crate) struct Fake(test_world::Fake<Books>);

impl Deref for Fake {
    type Target = test_world::Fake<Books>;

    fn deref(&self) -> &test_world::Fake<Books> {
        &self.0
    }
}

impl Fake {
    pub(crate) fn new(clock: Clock) -> Self {
        let books = Books {
            clock,
            by_request: HashMap::new(),
            promises: HashMap::new(),
            refusal: None,
            unknown: Vec::new(),
            ends_at_once: false,
            events: Vec::new(),
            asked: Vec::new(),
            refusing: HashMap::new(),
            lacking: Vec::new(),
            names_skus: false,
            counting: Vec::new(),
            ready_h: 1,
            methods: vec![Method::Pickup],
        };
        let fake = test_world::Fake::new(books)
            .answers("HoldPromise", Books::hold)
            .answers("ExtendPromise", Books::extend)
            .answers("ReleasePromise", Books::release)
            .answers("GetPromiseToken", Books::get)
            .answers("GetPromise", Books::can)
            .answers("ReplayEvents", |books, asked| Ok(books.replay(asked)));
        Self(fake)
    }

    /// From now on every hold and extension is refused so.
    pub(crate) fn refuse(&self, code: Code, reason: &'static str) {
        self.books().refusal = Some((code, reason));
    }

    /// From now on this node can hold nothing.
    pub(crate) fn refuse_at(&self, node: &str, reason: &'static str) {
        self.books().refusing.insert(node.to_owned(), reason);
    }

    /// No node has this SKU.
    pub(crate) fn lack(&self, sku: &str) {
        self.books().lacking.push(sku.to_owned());
    }

    /// The next question for what can be promised is not answered.
    pub(crate) fn lose_a_question(&self) {
        self.0.refuse("GetPromise", 1, &refused(Code::Unavailable, "STOCK_VIEW_LOADING"));
    }

    /// The token that was made last.
    pub(crate) fn newest(&self) -> String {
        PromiseToken::new(*self.books().promises.keys().max().unwrap()).to_string()
    }

    /// The nodes have all SKUs.
    pub(crate) fn supply(&self) {
        self.books().lacking.clear();
    }

    /// Refusals name the SKU that ran out.
    pub(crate) fn name_skus(&self) {
        self.books().names_skus = true;
    }

    /// From now on this node is no answer to what can be promised: it did not find goods.
    pub(crate) fn count_at(&self, node: &str) {
        self.books().counting.push(node.to_owned());
    }

    /// From now on goods are ready this number of hours after they are asked for.
    pub(crate) fn ready_after(&self, hours: i64) {
        self.books().ready_h = hours;
    }

    /// The nodes have counted, and have the goods.
    pub(crate) fn end_counts(&self) {
        self.books().counting.clear();
    }

    /// No node can hold anything.
    pub(crate) fn refuse_everywhere(&self) {
        for (node, _) in NODES {
            self.refuse_at(node, "NO_STOCK");
        }
    }

    /// This node can hold something again.
    pub(crate) fn grant_at(&self, node: &str) {
        self.books().refusing.remove(node);
    }

    /// These methods can be promised.
    pub(crate) fn offer(&self, methods: &[Method]) {
        self.books().methods = methods.to_vec();
    }

    /// The holds that were asked for, also in vain, oldest first.
    pub(crate) fn holds(&self) -> Vec<pb::HoldPromiseRequest> {
        self.books().asked.clone()
    }

    /// Holds are granted again.
    pub(crate) fn grant(&self) {
        self.books().refusal = None;
    }

    /// Whether every new hold has ended by the time that it is answered.
    pub(crate) fn end_at_once(&self, ends: bool) {
        self.books().ends_at_once = ends;
    }

    /// Fulfillment has this event, which nobody heard.
    pub(crate) fn keep(&self, event: &bus::Delivered) {
        self.books().events.push(bus::replay::to_stored(event));
    }

    /// This SKU does not exist.
    pub(crate) fn forget(&self, sku: &str) {
        self.books().unknown.push(sku.to_owned());
    }

    /// Promises that hold something now.
    pub(crate) fn live(&self) -> usize {
        let live = |p: &&pb::Promise| p.state() == pb::PromiseState::Live;
        self.books().promises.values().filter(live).count()
    }

    /// How many promises were ever made.
    pub(crate) fn made(&self) -> usize {
        self.books().promises.len()
    }

    pub(crate) fn extensions(&self) -> usize {
        self.done::<pb::ExtendPromiseRequest>("ExtendPromise").len()
    }

    pub(crate) fn promise(&self, token: &str) -> pb::Promise {
        self.books().promise(token).unwrap().clone()
    }

    /// A promise for these lines, that a caller holds for itself.
    pub(crate) fn hold_for(&self, lines: &[(u32, &str, i64)]) -> String {
        let line = |(line, sku, quantity): &(u32, &str, i64)| pb::CartLine {
            line: *line,
            sku: (*sku).to_owned(),
            quantity: *quantity,
        };
        let request = pb::HoldPromiseRequest {
            request_id: v7().to_string(),
            lines: lines.iter().map(line).collect(),
            groups: vec![pb::CartGroup {
                group: 1,
                method: Method::Pickup.into(),
                node_id: "store-1".to_owned(),
                ..Default::default()
            }],
            ttl: Some(prost_types::Duration { seconds: 900, nanos: 0 }),
            instead_of: Vec::new(),
            on_behalf_of: String::new(),
            channel: String::new(),
        };
        self.books().hold(&request).unwrap().promise.unwrap().promise_token
    }

    /// The promise is held in that number of legs instead of one, each with some of its lines.
    pub(crate) fn divide(&self, token: &str, legs: usize) {
        let mut books = self.books();
        let promise = books.promise(token).unwrap();
        let whole = promise.legs.remove(0);
        let part = |lines: &[LineQuantity]| pb::PromiseLeg {
            fulfillment_id: FulfillmentId::new(v7()).to_string(),
            lines: lines.to_vec(),
            ..whole.clone()
        };
        promise.legs = whole.lines.chunks(whole.lines.len().div_ceil(legs)).map(part).collect();
    }

    /// The promise is gone, as when its time ran out.
    pub(crate) fn expire(&self, token: &str) {
        self.set(token, pb::PromiseState::Expired);
    }

    /// The promise belongs to an order.
    pub(crate) fn confirm(&self, token: &str) {
        self.set(token, pb::PromiseState::Confirmed);
    }

    /// The promise is held by somebody else.
    pub(crate) fn give(&self, token: &str, owner: &str) {
        owner.clone_into(&mut self.books().promise(token).unwrap().owner);
    }

    /// The promise was held for this channel.
    pub(crate) fn sell_through(&self, token: &str, channel: &str) {
        channel.clone_into(&mut self.books().promise(token).unwrap().channel);
    }

    pub(crate) fn set(&self, token: &str, to: pb::PromiseState) {
        self.books().promise(token).unwrap().set_state(to);
    }
}

/// Who holds the promises, unless a test gives them to somebody else.
const HOLDER: &str = "channel/web";

fn refused(code: Code, reason: &'static str) -> Status {
    let text = format!("refused: {reason}");
    let reason = Reason { name: reason, code, ..server::reason::CALLER_NOT_ALLOWED };
    server::status(reason, "fulfillment.entrepot", text, [])
}

/// The refusal of a group of a cart.
fn refused_group(reason: &'static str, group: u32, sku: Option<&str>) -> Status {
    let text = format!("refused: {reason}");
    let reason =
        Reason { name: reason, code: Code::FailedPrecondition, ..server::reason::CALLER_NOT_ALLOWED };
    let facts = [("group".to_owned(), group.to_string())].into_iter();
    let sku = sku.map(|sku| ("sku".to_owned(), sku.to_owned()));
    server::status(reason, "fulfillment.entrepot", text, facts.chain(sku))
}

fn pieces(line: &pb::CartLine) -> LineQuantity {
    LineQuantity { line: line.line, quantity: line.quantity }
}

impl Books {
    fn promise(&mut self, token: &str) -> Result<&mut pb::Promise, Status> {
        let token: PromiseToken = token.parse().unwrap();
        self.promises.get_mut(&token.uuid()).ok_or_else(|| refused(Code::NotFound, "PROMISE_NOT_FOUND"))
    }

    fn granted(&self) -> Result<(), Status> {
        self.refusal.map_or(Ok(()), |(code, reason)| Err(refused(code, reason)))
    }

    fn hold(&mut self, request: &pb::HoldPromiseRequest) -> Result<pb::HoldPromiseResponse, Status> {
        self.asked.push(request.clone());
        if let Some(known) = self.by_request.get(&request.request_id) {
            let promise = self.promises[known].clone();
            if !matches!(promise.state(), pb::PromiseState::Live | pb::PromiseState::Confirmed) {
                return Err(refused(Code::FailedPrecondition, "PROMISE_EXPIRED"));
            }
            return Ok(pb::HoldPromiseResponse { promise: Some(promise) });
        }
        let unknown = request.lines.iter().enumerate().filter(|(_, line)| self.unknown.contains(&line.sku));
        let unknown: Vec<_> =
            unknown.map(|(i, _)| Violation::new(format!("lines[{i}].sku"), "is not known")).collect();
        if !unknown.is_empty() {
            return Err(server::invalid("fulfillment.entrepot", unknown));
        }
        self.granted()?;
        let nodes: Vec<String> =
            request.groups.iter().map(|group| self.node(group, request)).collect::<Result<_, _>>()?;
        let (now, token) = (self.clock.business(), v7());
        let whole: Vec<LineQuantity> = request.lines.iter().map(pieces).collect();
        let leg = |(group, node): (&pb::CartGroup, String)| pb::PromiseLeg {
            fulfillment_id: FulfillmentId::new(v7()).to_string(),
            group: group.group,
            option: Some(pb::PromiseOption {
                method: group.method,
                node_id: node,
                node_name: "a shop".to_owned(),
                window: Some(self.window(group.wanted_window)),
                distance_m: 0,
            }),
            lines: if group.lines.is_empty() { whole.clone() } else { group.lines.clone() },
            places: Vec::new(),
        };
        let promise = pb::Promise {
            promise_token: PromiseToken::new(token).to_string(),
            state: if self.ends_at_once { pb::PromiseState::Expired } else { pb::PromiseState::Live }.into(),
            legs: request.groups.iter().zip(nodes).map(leg).collect(),
            lines: request.lines.clone(),
            expire_time: Some(stamp(after_ms(now, request.ttl.unwrap().seconds * 1_000))),
            create_time: Some(stamp(now)),
            owner: HOLDER.to_owned(),
            channel: request.channel.clone(),
        };
        self.by_request.insert(request.request_id.clone(), token);
        self.promises.insert(token, promise.clone());
        Ok(pb::HoldPromiseResponse { promise: Some(promise) })
    }

    /// When goods are ready that are asked for now: soon, and not before they are wanted.
    fn window(&self, wanted: Option<Window>) -> Window {
        let soon = after_ms(self.clock.business(), self.ready_h * 3_600_000);
        let from = wanted.and_then(|wanted| wanted.start_time);
        let from = from.map_or(soon, |from| from_parts(from.seconds, from.nanos).unwrap().max(soon));
        Window { start_time: Some(stamp(from)), end_time: Some(stamp(after_ms(from, 3_600_000))) }
    }

    /// The node that serves a group: the one that is named, or the nearest that may and can.
    fn node(&self, group: &pb::CartGroup, request: &pb::HoldPromiseRequest) -> Result<String, Status> {
        let named = &group.node_id;
        let is_its = |line: &pb::CartLine| {
            group.lines.is_empty() || group.lines.iter().any(|part| part.line == line.line)
        };
        let mut lines = request.lines.iter().filter(|line| is_its(line));
        if let Some(line) = lines.find(|line| self.lacking.contains(&line.sku)) {
            let sku = self.names_skus.then_some(line.sku.as_str());
            return Err(refused_group("NO_STOCK", group.group, sku));
        }
        if !named.is_empty() {
            return match self.refusing.get(named) {
                Some(reason) => Err(refused_group(reason, group.group, None)),
                None => Ok(named.clone()),
            };
        }
        let may = |(node, metres): &&(&str, i64)| {
            let is_near = group.radius_m == 0 || *metres <= group.radius_m;
            is_near && !group.without_node_ids.iter().any(|other| other == node)
        };
        let mut nodes = NODES.iter().filter(may).filter(|(node, _)| !self.refusing.contains_key(*node));
        let found = nodes.next().map(|(node, _)| (*node).to_owned());
        found.ok_or_else(|| refused_group("NO_STOCK", group.group, None))
    }

    /// What can be promised: the nearest nodes for each method.
    fn can(&mut self, request: &pb::GetPromiseRequest) -> Result<pb::GetPromiseResponse, Status> {
        match self.refusal {
            Some((Code::FailedPrecondition, _)) => return Ok(pb::GetPromiseResponse::default()),
            Some(_) => self.granted()?,
            None => {}
        }
        if request.lines.iter().any(|line| self.lacking.contains(&line.sku)) {
            return Ok(pb::GetPromiseResponse::default());
        }
        let may = |(node, _): &&(&str, i64)| {
            let is_asked = request.node_id.is_empty() || request.node_id == *node;
            let is_out = request.without_node_ids.iter().any(|other| other == node);
            let is_counting = self.counting.iter().any(|other| other == node);
            is_asked && !is_out && !is_counting && !self.refusing.contains_key(*node)
        };
        let window = self.window(request.wanted_window);
        let end =
            request.wanted_window.and_then(|wanted| wanted.end_time).map_or(i64::MAX, |end| end.seconds);
        if window.start_time.unwrap().seconds > end {
            return Ok(pb::GetPromiseResponse::default());
        }
        let most = usize::try_from(request.max_options).unwrap();
        let asked = self.methods.iter().filter(|method| request.methods.contains(&i32::from(**method)));
        let option = |method: &Method, node: &str| pb::PromiseOption {
            method: (*method).into(),
            node_id: node.to_owned(),
            node_name: format!("the {node}"),
            window: Some(window),
            distance_m: 0,
        };
        let options = asked.flat_map(|method| {
            NODES.iter().filter(may).take(most).map(move |(node, _)| option(method, node))
        });
        Ok(pb::GetPromiseResponse { options: options.collect(), ..Default::default() })
    }

    fn extend(&mut self, request: &pb::ExtendPromiseRequest) -> Result<pb::ExtendPromiseResponse, Status> {
        self.granted()?;
        let now = self.clock.business();
        let promise = self.promise(&request.promise_token)?;
        let ends = promise.expire_time.unwrap();
        if from_parts(ends.seconds, ends.nanos).unwrap() <= now {
            promise.set_state(pb::PromiseState::Expired);
        }
        if promise.state() == pb::PromiseState::Live {
            promise.expire_time = request.expire_time;
        }
        Ok(pb::ExtendPromiseResponse { promise: Some(promise.clone()) })
    }

    fn release(&mut self, request: &pb::ReleasePromiseRequest) -> Result<pb::ReleasePromiseResponse, Status> {
        let promise = self.promise(&request.promise_token)?;
        promise.set_state(pb::PromiseState::Released);
        Ok(pb::ReleasePromiseResponse { promise: Some(promise.clone()) })
    }

    fn get(&mut self, request: &pb::GetPromiseTokenRequest) -> Result<pb::GetPromiseTokenResponse, Status> {
        Ok(pb::GetPromiseTokenResponse { promise: Some(self.promise(&request.promise_token)?.clone()) })
    }

    fn replay(&self, asked: &pb::ReplayEventsRequest) -> pb::ReplayEventsResponse {
        let is_wanted = |event: &&StoredEvent| {
            event.aggregate_id == asked.aggregate_id && event.sequence >= asked.from_sequence
        };
        pb::ReplayEventsResponse { events: self.events.iter().filter(is_wanted).cloned().collect() }
    }
}
