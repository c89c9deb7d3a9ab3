//! The nodes, when they are open and how full their slots are (`NetworkService`).

pub(crate) mod command;
mod facts;
mod follow;
mod groups;
pub(crate) mod index;
pub(crate) mod load;
mod nodes;
pub(crate) mod silence;
