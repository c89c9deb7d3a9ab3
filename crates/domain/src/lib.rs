//! Every business rule of Entrepot, pure: no IO, no clock, no async.
pub mod fulfillment;
pub mod id;
pub mod money;
pub mod network;
pub mod order;
pub mod place;
pub mod promise;
pub mod quantity;
pub mod sourcing;
pub mod stock;
pub mod time;
