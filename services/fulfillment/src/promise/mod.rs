//! What a cart can be promised, and the tokens that hold stock and capacity for it (`PromiseService`).

pub(crate) mod ask;
pub(crate) mod combiner;
pub(crate) mod confirm;
pub(crate) mod extend;
pub(crate) mod follow;
pub(crate) mod hold;
pub(crate) mod nearby;
pub(crate) mod release;
pub(crate) mod stock_view;
