//! Typed clients of one platform, as an outside caller has them: over the network, under a name.

use std::time::Duration;

use contract::fulfillment::v1::network_service_client::NetworkServiceClient;
use contract::fulfillment::v1::policy_service_client::PolicyServiceClient;
use contract::fulfillment::v1::promise_service_client::PromiseServiceClient;
use contract::fulfillment::v1::work_service_client::WorkServiceClient;
use contract::google::r#type::Money;
use contract::inventory::v1::inventory_service_client::InventoryServiceClient;
use contract::orders::v1::order_service_client::OrderServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// A channel whose calls carry the caller's name.
pub type Caller = InterceptedService<Channel, Named>;

/// Puts `x-entrepot-actor` on each call.
#[derive(Debug, Clone)]
pub struct Named {
    actor: MetadataValue<Ascii>,
}

impl Interceptor for Named {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("x-entrepot-actor", self.actor.clone());
        Ok(request)
    }
}

/// Why a platform can't be called.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is not a URI.
    #[error("`{0}` is not an address; expected http://host:port")]
    Address(String),
    /// The name has characters that metadata can't carry.
    #[error("`{0}` is not an actor; expected kind/id in ASCII")]
    Actor(String),
}

/// Every service of a platform. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Clients {
    channel: Channel,
    /// Orders.
    pub orders: OrderServiceClient<Caller>,
    /// Stock.
    pub inventory: InventoryServiceClient<Caller>,
    /// Nodes.
    pub network: NetworkServiceClient<Caller>,
    /// Policies.
    pub policies: PolicyServiceClient<Caller>,
    /// Promises.
    pub promise: PromiseServiceClient<Caller>,
    /// Store work.
    pub work: WorkServiceClient<Caller>,
}

impl Clients {
    /// Clients of the platform at `address` (`http://host:port`), called as `actor` (`kind/id`). Connects on first use.
    pub fn new(address: &str, actor: &str) -> Result<Self, Error> {
        let endpoint =
            Endpoint::from_shared(address.to_owned()).map_err(|_| Error::Address(address.to_owned()))?;
        let channel = endpoint.tcp_nodelay(true).connect_timeout(Duration::from_secs(3)).connect_lazy();
        Self::over(channel, actor)
    }

    /// The same platform on the same connection, called as somebody else.
    pub fn acting(&self, actor: &str) -> Result<Self, Error> {
        Self::over(self.channel.clone(), actor)
    }

    fn over(channel: Channel, actor: &str) -> Result<Self, Error> {
        let named = Named { actor: actor.parse().map_err(|_| Error::Actor(actor.to_owned()))? };
        let caller = InterceptedService::new(channel.clone(), named);
        Ok(Self {
            channel,
            orders: OrderServiceClient::new(caller.clone()),
            inventory: InventoryServiceClient::new(caller.clone()),
            network: NetworkServiceClient::new(caller.clone()),
            policies: PolicyServiceClient::new(caller.clone()),
            promise: PromiseServiceClient::new(caller.clone()),
            work: WorkServiceClient::new(caller),
        })
    }
}

/// An amount of `minor` units of a currency with two decimals, as the wire has it.
pub fn money(minor: i64, currency: &str) -> Money {
    let nanos = i32::try_from(minor % 100).unwrap_or_default() * 10_000_000;
    Money { currency_code: currency.to_owned(), units: minor / 100, nanos }
}

/// The minor units of an amount in a currency with two decimals.
pub fn minor(money: Option<&Money>) -> i64 {
    money.map_or(0, |money| money.units * 100 + i64::from(money.nanos / 10_000_000))
}

/// An instant as the wire has it.
pub fn timestamp(at: jiff::Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// An instant of the wire; `None` where it is absent or out of range.
pub fn instant(at: Option<&prost_types::Timestamp>) -> Option<jiff::Timestamp> {
    at.and_then(|at| jiff::Timestamp::new(at.seconds, at.nanos).ok())
}
