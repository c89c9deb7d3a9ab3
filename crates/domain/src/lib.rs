//! Every business rule of Entrepot, pure: no IO, no clock, no async.
//!
//! | room | what it rules |
//! | --- | --- |
//! | [`id`], [`money`], [`quantity`], [`time`], [`place`], [`words`] | the vocabulary of all other rooms |
//! | [`order`] | what was bought: line buckets, money to the cent, payment, cancels |
//! | [`stock`] | positions, reservations, and the kinds of movement in the ledger |
//! | [`network`] | nodes, their hours, cut-offs and capacity |
//! | [`promise`] | what a cart may be offered, and the reason of each "no" |
//! | [`sourcing`] | which node serves an order, and why |
//! | [`policy`] | numbers with a scope and versions: which one applies to what, and when |
//! | [`fulfillment`] | the work of one node; it walks the path that its method prescribes |
//!
//! Always true here: a transition that is not allowed is an `Err`, never a silent no-op; a transition that is allowed
//! returns the event that tells of it; time comes in as an argument; amounts are whole minor units.

pub mod damage;
pub mod fulfillment;
pub mod id;
pub mod money;
pub mod name;
pub mod network;
pub mod order;
pub mod place;
pub mod policy;
pub mod promise;
pub mod quantity;
pub mod sourcing;
pub mod stock;
pub mod time;
pub mod words;
