//! Fulfillment from the outside, on both engines, with an inventory that is played.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fake;
mod follow;
mod network;
mod node_groups;
mod node_terms;
mod policies;
mod promise;
mod promise_channel;
mod promise_end;
mod promise_groups;
mod promise_instead;
mod promise_limits;
mod promise_policies;
mod promise_race;
mod promise_resent;
mod quota;
mod react;
mod silence;
mod support;
mod unpaid;
mod work;
mod work_clocks;
mod work_code;
mod work_doubt;
mod work_durable;
mod work_end;
mod work_let_go;
mod work_pages;
mod work_parts;
mod work_payment;
mod work_policies;
mod work_prune;
mod work_race;
mod work_wishes;
mod work_world;
