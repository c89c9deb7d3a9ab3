//! Where a consumer asks for events that it misses: the owner's database if it is here, else the owner itself.

use std::collections::HashMap;
use std::sync::Arc;

use bus::heads::{Asked, Page};
use bus::replay::Failure;
use bus::{Delivered, Owners, Topic};
use clock::Clock;
use contract::fulfillment::v1::fulfillment_events_service_client::FulfillmentEventsServiceClient;
use contract::inventory::v1::inventory_events_service_client::InventoryEventsServiceClient;
use contract::orders::v1::order_events_service_client::OrderEventsServiceClient;
use contract::r#type::v1::StoredEvent;
use futures_util::FutureExt as _;
use server::{Peer, Principal, peer};
use uuid::Uuid;

use super::Member;
use crate::config::{Config, Service};
use crate::exit::{Exit, Result};

/// Events asked for at once.
const PAGE: i32 = 100;

#[derive(Clone)]
enum Owner {
    Here(db::Db, Clock),
    There(Service, Peer),
}

/// Asks the owners of all topics that are known here.
pub(super) fn from_owners(config: &Config, clock: &Clock, members: &[Member]) -> Result<Owners> {
    let mut owners = HashMap::new();
    for service in Service::ALL {
        let here = members.iter().find(|member| member.service == service);
        let address = match service {
            Service::Inventory => &config.peers.inventory,
            Service::Fulfillment => &config.peers.fulfillment,
            Service::Orders => &config.peers.orders,
        };
        if let Some(member) = here {
            owners.insert(service.topic(), Owner::Here(member.db.clone(), clock.clone()));
        } else if !address.is_empty() {
            let peer = peer::remote_named(service.name(), address, config.peers.options())
                .map_err(|error| Exit::usage(error.to_string()))?;
            let peer = peer::acting(peer, &Principal::service("bus"));
            owners.insert(service.topic(), Owner::There(service, peer));
        }
    }
    let owners = Arc::new(owners);
    let listed = Arc::clone(&owners);
    Ok(Owners {
        replay: Arc::new(move |topic, aggregate, from| {
            let owner = owners.get(&topic).cloned();
            async move { ask(owner, topic, aggregate, from).await }.boxed()
        }),
        heads: Some(Arc::new(move |topic, asked| {
            let owner = listed.get(&topic).cloned();
            async move { list(owner, topic, asked).await }.boxed()
        })),
    })
}

fn unknown(topic: Topic) -> Failure {
    format!("no address of the owner of {} is set (peers.{})", topic.name(), topic.owner()).into()
}

async fn ask(
    owner: Option<Owner>,
    topic: Topic,
    aggregate: Uuid,
    from: i64,
) -> std::result::Result<Vec<Delivered>, Failure> {
    match owner {
        None => Err(unknown(topic)),
        Some(Owner::Here(db, _)) => {
            let mut tx = db.read().await?;
            Ok(bus::replay::read(&mut tx, aggregate, from, i64::from(PAGE)).await?)
        }
        Some(Owner::There(service, peer)) => {
            let stored = fetch(service, peer, aggregate, from).await?;
            stored.into_iter().map(|event| Ok(bus::replay::from_stored(topic, event)?)).collect()
        }
    }
}

/// The same question in the three packages that own a topic.
macro_rules! replay_from {
    ($client:ident, $package:ident, $peer:expr, $aggregate:expr, $from:expr) => {{
        let request = contract::$package::v1::ReplayEventsRequest {
            aggregate_id: $aggregate.to_string(),
            from_sequence: $from,
            page_size: PAGE,
        };
        $client::new($peer).replay_events(request).await.map(|answer| answer.into_inner().events)
    }};
}

async fn fetch(
    service: Service,
    peer: Peer,
    aggregate: Uuid,
    from: i64,
) -> std::result::Result<Vec<StoredEvent>, tonic::Status> {
    match service {
        Service::Inventory => replay_from!(InventoryEventsServiceClient, inventory, peer, aggregate, from),
        Service::Fulfillment => {
            replay_from!(FulfillmentEventsServiceClient, fulfillment, peer, aggregate, from)
        }
        Service::Orders => replay_from!(OrderEventsServiceClient, orders, peer, aggregate, from),
    }
}

async fn list(owner: Option<Owner>, topic: Topic, asked: Asked) -> std::result::Result<Page, Failure> {
    match owner {
        None => Err(unknown(topic)),
        Some(Owner::Here(db, clock)) => {
            let mut tx = db.read().await?;
            Ok(bus::heads::read(&mut tx, asked, clock.business()).await?)
        }
        Some(Owner::There(service, peer)) => fetch_heads(service, peer, asked).await,
    }
}

/// The same question in the three packages that own a topic.
macro_rules! heads_from {
    ($client:ident, $package:ident, $peer:expr, $asked:expr) => {{
        let request = contract::$package::v1::ListHeadsRequest {
            changed_since: Some($asked.since_wire()),
            page_size: i32::try_from($asked.limit).unwrap_or(i32::MAX),
            page_token: $asked.after.map(|after| after.token()).unwrap_or_default(),
        };
        let answer = $client::new($peer).list_heads(request).await?.into_inner();
        Ok(Page::from_wire(answer.heads, &answer.next_page_token, answer.until_time)?)
    }};
}

async fn fetch_heads(service: Service, peer: Peer, asked: Asked) -> std::result::Result<Page, Failure> {
    match service {
        Service::Inventory => heads_from!(InventoryEventsServiceClient, inventory, peer, asked),
        Service::Fulfillment => heads_from!(FulfillmentEventsServiceClient, fulfillment, peer, asked),
        Service::Orders => heads_from!(OrderEventsServiceClient, orders, peer, asked),
    }
}
