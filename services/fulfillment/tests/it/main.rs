//! Fulfillment from the outside, on both engines, with an inventory that is played.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod follow;
mod network;
mod promise;
mod react;
mod support;
mod work;
mod work_code;
mod work_end;
mod work_race;
mod work_world;
