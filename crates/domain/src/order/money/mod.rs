//! The money of one order, by unit, component and tender.
//!
//! What pieces cost is frozen at placement, component by component ([`Part`]). What came in, and what was given up of the
//! price, is an append-only list of rows ([`Row`]); every sum is a sum of rows. Money goes back by *settling* the pieces that
//! the customer does not get: what no tender has paid yet is not asked for any more, what is only authorized is not to be
//! captured, and what was captured is refunded. So no piece changes what another one gives back, and together they can
//! never give back more than was paid.

mod capture;
mod ledger;
mod part;
mod refund;
mod report;
mod row;
mod settle;
mod share;
mod tender;

pub use capture::Capture;
pub use ledger::{Collected, Ledger, Received, Sums};
pub use part::{Part, Parts, ReturnRule, parts};
pub use refund::{PartId, Redirect, Refund, RefundAnswer, RefundPart, RefundState};
pub use row::{Cause, Component, Row};
pub use settle::{Pieces, Settled};
pub use share::{AmountFlaw, Amounts, MAX_MINOR, Share};
pub use tender::{HANDOVER_PREFIX, Tender, TenderState};
