//! What a customer may choose when a node could not do pieces and nothing was found that the consent allows. Options are
//! quotes, not claims: what is chosen is held when it is chosen.

use contract::fulfillment::v1 as pb;
use contract::orders::v1 as pb_orders;
use contract::r#type::v1::Window;
use domain::fulfillment::method::Method;
use domain::id::{NodeId, OrderId};
use domain::order::need::MAX_PLACES;
use domain::order::seek::{MAX_EXCLUDED, excluded, not_before};
use domain::order::{Need, NeedState, OptionKind, Order, Quote};
use server::Principal;
use service::wire::fitting;

use crate::error::Error;
use crate::{Orders, hold, rights, wire};

/// The most options at other nodes with the method that was asked for.
const MOST_NODES: usize = 3;

impl Orders {
    /// What may be done about the pieces of an order that nodes could not do.
    pub(crate) async fn list_options(
        &self,
        id: OrderId,
        caller: &Principal,
    ) -> Result<pb_orders::ListOptionsResponse, Error> {
        // Options that time has ended are left out; that it drops their pieces is written elsewhere.
        let now = self.clock.business();
        let order = self.find(id).await?;
        rights::must_own(caller, &order)?;
        let asked = order.needs.iter().filter(|need| need.state() == NeedState::Asked);
        Ok(pb_orders::ListOptionsResponse {
            options: fitting(asked.flat_map(|need| wire::options(&order, need, now))),
        })
    }

    /// Where and when the pieces of a need could be ready, best first.
    pub(crate) async fn find_places(
        &self,
        order: &Order,
        need: &Need,
    ) -> Result<Vec<(OptionKind, Quote)>, Error> {
        let (later, elsewhere) = (self.later_there(order, need), self.elsewhere(order, need));
        let (later, elsewhere) = futures_util::future::try_join(later, elsewhere).await?;
        let method = order.method_of(need);
        let mut found: Vec<(OptionKind, Quote)> = Vec::new();
        for quote in elsewhere {
            let is_same = Some(quote.method) == method;
            let (kind, most) =
                if is_same { (OptionKind::OtherNode, MOST_NODES) } else { (OptionKind::OtherMethod, 1) };
            if found.iter().filter(|(_, other)| other.method == quote.method).count() < most {
                found.push((kind, quote));
            }
        }
        // Stable: within a kind they stay as fulfillment orders them.
        found.sort_by_key(|(kind, _)| *kind == OptionKind::OtherMethod);
        found.truncate(MAX_PLACES - usize::from(later.is_some()));
        found.extend(later.map(|quote| (OptionKind::Wait, quote)));
        Ok(found)
    }

    /// The first node and the same method, later, if it can do it then. Goods that it did not find are counted before it has
    /// them again, so it is asked whatever its reason was.
    async fn later_there(&self, order: &Order, need: &Need) -> Result<Option<Quote>, Error> {
        let asked = order.first_node(need.group).zip(order.method_of(need));
        let Some((node, method)) = asked else { return Ok(None) };
        let request = pb::GetPromiseRequest {
            methods: vec![wire::method(method)],
            node_id: node.to_string(),
            max_options: 1,
            ..question(order, need)
        };
        Ok(self.quotes_in_time(order, need, OptionKind::Wait, request).await?.into_iter().next())
    }

    /// Other nodes and other methods.
    async fn elsewhere(&self, order: &Order, need: &Need) -> Result<Vec<Quote>, Error> {
        let first = order.first_node(need.group);
        let mut without: Vec<NodeId> = excluded(order, need).into_iter().map(|(node, _)| node).collect();
        without.extend(first.filter(|first| !without.contains(first)).cloned());
        let place = order.group(need.group).and_then(wire::place_of);
        let is_placed = place.is_some();
        let offered = Method::ALL.iter().copied().filter(|method| method.rules().is_offered);
        let request = pb::GetPromiseRequest {
            methods: offered.map(wire::method).collect(),
            place,
            near_node_id: first.filter(|_| !is_placed).map(ToString::to_string).unwrap_or_default(),
            without_node_ids: without.iter().take(MAX_EXCLUDED).map(ToString::to_string).collect(),
            max_options: i32::try_from(MOST_NODES).unwrap_or(1),
            ..question(order, need)
        };
        self.quotes_in_time(order, need, OptionKind::OtherNode, request).await
    }

    /// What fulfillment offers within the window in which the goods are wanted; where that is nothing, from its start on.
    async fn quotes_in_time(
        &self,
        order: &Order,
        need: &Need,
        kind: OptionKind,
        request: pb::GetPromiseRequest,
    ) -> Result<Vec<Quote>, Error> {
        let Some(from) = not_before(order, need, kind) else { return self.quotes(request).await };
        let until = order.group(need.group).and_then(|group| group.wanted).map(|wanted| wanted.end);
        let within = until.filter(|until| *until > from);
        for end in within.map(Some).into_iter().chain([None]) {
            let wanted_window =
                Some(Window { start_time: Some(wire::time(from)), end_time: end.map(wire::time) });
            let mut found = self.quotes(pb::GetPromiseRequest { wanted_window, ..request.clone() }).await?;
            found.retain(|quote| quote.window.start >= from);
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    /// What fulfillment offers. That it can offer nothing, or does not know something of it, is no outage.
    pub(crate) async fn quotes(&self, request: pb::GetPromiseRequest) -> Result<Vec<Quote>, Error> {
        match self.promises.clone().get_promise(request).await {
            Ok(answer) => Ok(answer.into_inner().options.into_iter().filter_map(quote).collect()),
            Err(answer) if hold::is_definite(&answer) => Ok(Vec::new()),
            Err(answer) => Err(Error::peer(answer)),
        }
    }
}

/// The open pieces of a need, as a cart.
fn question(order: &Order, need: &Need) -> pb::GetPromiseRequest {
    let line = |(no, quantity)| {
        let sku = order.line(no)?.sku.to_string();
        Some(pb::CartLine { line: no, sku, quantity })
    };
    pb::GetPromiseRequest {
        lines: need.open().into_iter().filter_map(line).collect(),
        channel: order.channel.clone(),
        ..pb::GetPromiseRequest::default()
    }
}

fn quote(option: pb::PromiseOption) -> Option<Quote> {
    wire::quote(&option.node_id, option.node_name, option.method, option.window.as_ref())
}
