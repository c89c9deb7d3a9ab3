//! Orders through its own client, on both engines, with a stand-in for fulfillment's promises.

#![expect(clippy::unnecessary_wraps, clippy::ref_option, reason = "message fields are optional as they are")]
#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should panic")]

mod bad_input;
mod cancel;
mod channels;
mod elsewhere;
mod fake;
mod legs;
mod money;
mod moved;
mod needs;
mod needs_choice;
mod needs_paid;
mod needs_policies;
mod needs_race;
mod needs_window;
mod origin;
mod pay;
mod place;
mod policies;
mod react;
mod refunds;
mod rights;
mod schema;
mod timers;
mod views;
mod watch;
mod world;
