//! All SQL of this service, by table. Every function takes the caller's transaction.
//!
//! Lock order: promises by token, then capacity slots by (node, work, slot), then what belongs to a fulfilment order.

pub(crate) mod capacity;
pub(crate) mod code;
pub(crate) mod feed;
pub(crate) mod network;
pub(crate) mod promise;
pub(crate) mod task;
pub(crate) mod work;
