//! All SQL of this service, by table. Every function takes the caller's transaction.
//!
//! Lock order: the feeds of nodes by code, with their fulfillment orders and the promises of those; promises without work
//! by token, after the feeds or without any; then what callers hold by (owner, SKU), and last capacity slots by (node, work,
//! slot): both are written at the end (see [`capacity::Changes`]).

pub(crate) mod capacity;
pub(crate) mod claim;
pub(crate) mod clock;
pub(crate) mod code;
pub(crate) mod feed;
pub(crate) mod hold_count;
pub(crate) mod network;
pub(crate) mod policy;
pub(crate) mod promise;
pub(crate) mod promise_leg;
pub(crate) mod record;
pub(crate) mod silence;
pub(crate) mod task;
pub(crate) mod work;
