//! Where a consumer asks for events that it misses: the owner's database if it is here, else the owner itself.

use std::collections::HashMap;
use std::sync::Arc;

use bus::heads::{Asked, Page};
use bus::replay::Failure;
use bus::{Delivered, Owners, Topic};
use clock::Clock;
use futures_util::FutureExt as _;
use server::{Peer, Principal, peer};
use service::replay::{ask_events, ask_heads};
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
        let address = config.peers.address(service);
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
            let stored = ask_events(peer, service.about().events, aggregate, from, PAGE).await?;
            stored.into_iter().map(|event| Ok(bus::replay::from_stored(topic, event)?)).collect()
        }
    }
}

async fn list(owner: Option<Owner>, topic: Topic, asked: Asked) -> std::result::Result<Page, Failure> {
    match owner {
        None => Err(unknown(topic)),
        Some(Owner::Here(db, clock)) => {
            let mut tx = db.read().await?;
            Ok(bus::heads::read(&mut tx, asked, clock.business()).await?)
        }
        Some(Owner::There(service, peer)) => {
            let (heads, next, until) = ask_heads(
                peer,
                service.about().events,
                asked.since_wire(),
                i32::try_from(asked.limit).unwrap_or(i32::MAX),
                asked.after.map(|after| after.token()).unwrap_or_default(),
            )
            .await?;
            Ok(Page::from_wire(heads, &next, until)?)
        }
    }
}
