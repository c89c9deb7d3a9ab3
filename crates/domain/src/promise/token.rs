//! The life of a promise token: `PENDING -> LIVE -> CONFIRMED`, ended by `RELEASED` or `EXPIRED`.
//!
//! | from \ command | grant | confirm | extend | release | expire |
//! | --- | --- | --- | --- | --- | --- |
//! | PENDING | LIVE | - | - | RELEASED | EXPIRED when due |
//! | LIVE | - | CONFIRMED | LIVE | RELEASED | EXPIRED when due |
//! | CONFIRMED | - | - | CONFIRMED | RELEASED | - |
//! | RELEASED, EXPIRED | - | - | - | - | - |
//!
//! A token that belongs to an order no longer ends by itself, and is released only for that order (or when that order
//! never comes). Extending it changes nothing of it: only its stock, which has a clock until inventory hears of the
//! order. What an order that exists says is a fact: [`State::adopt`] confirms for it from every state and tells what has to be taken again.

use jiff::{SignedDuration, Timestamp};

use crate::id::OrderId;
use crate::words;

/// Where a token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Capacity is held, stock is being asked for.
    Pending {
        /// When it ends by itself; soon, for nobody waits long for the stock.
        expires: Timestamp,
    },
    /// Stock and capacity are held.
    Live {
        /// When it ends by itself.
        expires: Timestamp,
    },
    /// It belongs to an order.
    Confirmed {
        /// The order.
        order: OrderId,
    },
    /// Stock and capacity were released.
    Released,
    /// Its time ran out; stock and capacity were released.
    Expired,
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The state does not allow it.
    #[error("the promise cannot be {command}: it is {}", words::plain(.state))]
    State {
        /// The state it is in.
        state: &'static str,
        /// What was asked, as a participle.
        command: &'static str,
    },
    /// It belongs to another order.
    #[error("the promise belongs to {0}")]
    OtherOrder(OrderId),
    /// Not due yet.
    #[error("the promise lives until {0}")]
    NotDue(Timestamp),
    /// The end asked for is later than this caller may have it.
    #[error("a promise of this caller ends at {0} at the latest")]
    TooLong(Timestamp),
}

/// What confirming for an order that exists has to mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopted {
    /// Nothing: all was held.
    Held,
    /// It was confirmed for this order before.
    Again,
    /// Its capacity had been released: it is taken again, beyond the limit if need be.
    CapacityLost,
}

impl State {
    /// The names of the states in storage and on the wire.
    pub const NAMES: [&'static str; 5] = ["PENDING", "LIVE", "CONFIRMED", "RELEASED", "EXPIRED"];

    /// Its name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pending { .. } => Self::NAMES[0],
            Self::Live { .. } => Self::NAMES[1],
            Self::Confirmed { .. } => Self::NAMES[2],
            Self::Released => Self::NAMES[3],
            Self::Expired => Self::NAMES[4],
        }
    }

    /// Whether capacity is held for it.
    pub const fn holds(&self) -> bool {
        match self {
            Self::Pending { .. } | Self::Live { .. } | Self::Confirmed { .. } => true,
            Self::Released | Self::Expired => false,
        }
    }

    /// Whether it counts as a hold of its owner: no order has it, and it has not ended.
    pub const fn is_waiting(&self) -> bool {
        match self {
            Self::Pending { .. } | Self::Live { .. } => true,
            Self::Confirmed { .. } | Self::Released | Self::Expired => false,
        }
    }

    /// When it ends by itself.
    pub const fn expires(&self) -> Option<Timestamp> {
        match self {
            Self::Pending { expires } | Self::Live { expires } => Some(*expires),
            Self::Confirmed { .. } | Self::Released | Self::Expired => None,
        }
    }

    /// The stock was granted: it lives until then.
    pub fn grant(self, until: Timestamp) -> Result<Self, Refusal> {
        match self {
            Self::Pending { .. } => Ok(Self::Live { expires: until }),
            Self::Live { .. } | Self::Confirmed { .. } | Self::Released | Self::Expired => {
                Err(self.refuse("granted"))
            }
        }
    }

    /// It belongs to this order from now on.
    pub fn confirm(self, order: OrderId, now: Timestamp) -> Result<Self, Refusal> {
        match self {
            Self::Live { expires } if now < expires => Ok(Self::Confirmed { order }),
            Self::Live { .. } => Err(Refusal::State { state: "EXPIRED", command: "confirmed" }),
            Self::Confirmed { order: other } if other != order => Err(Refusal::OtherOrder(other)),
            Self::Confirmed { .. } | Self::Pending { .. } | Self::Released | Self::Expired => {
                Err(self.refuse("confirmed"))
            }
        }
    }

    /// An order that exists was placed on it: whatever became of it, it belongs to that order now.
    pub fn adopt(self, order: OrderId) -> Result<(Self, Adopted), Refusal> {
        let confirmed = Self::Confirmed { order };
        match self {
            Self::Pending { .. } | Self::Live { .. } => Ok((confirmed, Adopted::Held)),
            Self::Confirmed { order: other } if other == order => Ok((confirmed, Adopted::Again)),
            Self::Confirmed { order: other } => Err(Refusal::OtherOrder(other)),
            Self::Released | Self::Expired => Ok((confirmed, Adopted::CapacityLost)),
        }
    }

    /// A later end; an earlier one than it has changes nothing. `cap` is the latest end that the caller may ask for. One
    /// that is confirmed has no end of its own: what may be extended is the stock behind it.
    pub fn extend(self, until: Timestamp, cap: Timestamp, now: Timestamp) -> Result<Self, Refusal> {
        match self {
            Self::Live { expires } if now >= expires => {
                Err(Refusal::State { state: "EXPIRED", command: "extended" })
            }
            Self::Live { expires } if until <= expires => Ok(self),
            Self::Live { .. } | Self::Confirmed { .. } if until > cap => Err(Refusal::TooLong(cap)),
            Self::Live { .. } => Ok(Self::Live { expires: until }),
            Self::Confirmed { .. } => Ok(self),
            Self::Pending { .. } | Self::Released | Self::Expired => Err(self.refuse("extended")),
        }
    }

    /// Gives it back. A confirmed one only in the name of its order.
    pub fn release(self, order: Option<OrderId>) -> Result<Self, Refusal> {
        match self {
            Self::Pending { .. } | Self::Live { .. } => Ok(Self::Released),
            Self::Confirmed { order: owner } if order == Some(owner) => Ok(Self::Released),
            Self::Confirmed { order: owner } => Err(Refusal::OtherOrder(owner)),
            Self::Released | Self::Expired => Err(self.refuse("released")),
        }
    }

    /// Its time is over.
    pub fn expire(self, now: Timestamp) -> Result<Self, Refusal> {
        match self {
            Self::Pending { expires } | Self::Live { expires } if now >= expires => Ok(Self::Expired),
            Self::Pending { expires } | Self::Live { expires } => Err(Refusal::NotDue(expires)),
            Self::Confirmed { .. } | Self::Released | Self::Expired => Err(self.refuse("expired")),
        }
    }

    const fn refuse(&self, command: &'static str) -> Refusal {
        Refusal::State { state: self.name(), command }
    }
}

/// How long tokens live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// When the caller does not say.
    pub default: SignedDuration,
    /// The longest life in all of a token that a shopper's caller holds.
    pub most: SignedDuration,
    /// The longest that a service may ask for, from now.
    pub most_for_services: SignedDuration,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            default: SignedDuration::from_mins(15),
            most: SignedDuration::from_mins(60),
            most_for_services: SignedDuration::from_hours(6 * 24),
        }
    }
}

impl Life {
    /// The latest end that a caller may ask for, of a token taken at `created`.
    pub fn cap(&self, is_service: bool, created: Timestamp, now: Timestamp) -> Timestamp {
        let (from, most) = if is_service { (now, self.most_for_services) } else { (created, self.most) };
        from.checked_add(most).unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::derived;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + minute * 60).unwrap()
    }

    fn order(name: &str) -> OrderId {
        OrderId::new(derived("test", name))
    }

    fn all() -> [State; 5] {
        [
            State::Pending { expires: at(15) },
            State::Live { expires: at(15) },
            State::Confirmed { order: order("a") },
            State::Released,
            State::Expired,
        ]
    }

    #[test]
    fn every_state_answers_every_command() {
        let granted = all().map(|s| s.grant(at(15)).is_ok());
        assert_eq!(granted, [true, false, false, false, false]);
        let confirmed = all().map(|s| s.confirm(order("a"), at(1)).is_ok());
        assert_eq!(confirmed, [false, true, false, false, false]);
        let extended = all().map(|s| s.extend(at(20), at(60), at(1)).is_ok());
        assert_eq!(extended, [false, true, true, false, false]);
        let released = all().map(|s| s.release(None).is_ok());
        assert_eq!(released, [true, true, false, false, false]);
        let expired = all().map(|s| s.expire(at(15)).is_ok());
        assert_eq!(expired, [true, true, false, false, false]);
        assert!(all().map(|s| s.expire(at(14)).is_ok()).iter().all(|ok| !ok));
    }

    #[test]
    fn a_token_whose_time_is_over_can_not_be_used_before_the_timer_saw_it() {
        let live = State::Live { expires: at(15) };
        assert!(live.confirm(order("a"), at(15)).is_err());
        assert!(live.extend(at(30), at(60), at(15)).is_err());
    }

    #[test]
    fn a_confirmed_token_belongs_to_one_order() {
        let confirmed = State::Confirmed { order: order("a") };
        assert_eq!(confirmed.extend(at(20), at(60), at(1)), Ok(confirmed));
        assert_eq!(confirmed.extend(at(61), at(60), at(1)), Err(Refusal::TooLong(at(60))));
        assert_eq!(confirmed.confirm(order("b"), at(1)), Err(Refusal::OtherOrder(order("a"))));
        assert_eq!(confirmed.release(Some(order("b"))), Err(Refusal::OtherOrder(order("a"))));
        assert_eq!(confirmed.release(Some(order("a"))), Ok(State::Released));
        assert_eq!(confirmed.adopt(order("b")), Err(Refusal::OtherOrder(order("a"))));
    }

    #[test]
    fn an_order_that_exists_gets_its_token_whatever_became_of_it() {
        use Adopted::{Again, CapacityLost, Held};
        let adopted = all().map(|s| s.adopt(order("a")).unwrap());
        assert!(adopted.iter().all(|(state, _)| *state == State::Confirmed { order: order("a") }));
        assert_eq!(adopted.map(|(_, how)| how), [Held, Held, Again, CapacityLost, CapacityLost]);
    }

    #[test]
    fn a_shopper_may_hold_for_an_hour_in_all() {
        let allowed = Life::default();
        assert_eq!(allowed.cap(false, at(0), at(50)), at(60));
        assert_eq!(allowed.cap(true, at(0), at(50)), at(50 + 6 * 24 * 60));
        let live = State::Live { expires: at(50) };
        assert_eq!(live.extend(at(61), at(60), at(49)), Err(Refusal::TooLong(at(60))));
        assert_eq!(live.extend(at(60), at(60), at(49)), Ok(State::Live { expires: at(60) }));
        assert_eq!(live.extend(at(10), at(60), at(49)), Ok(live), "an earlier end changes nothing");
    }

    proptest! {
        #[test]
        fn a_token_that_ended_holds_nothing_and_stays_ended(
            commands in proptest::collection::vec(0u8..5, 0..12),
        ) {
            let mut state = State::Pending { expires: at(15) };
            let mut now = 0;
            for command in commands {
                now += 4;
                let next = match command {
                    0 => state.grant(at(15)),
                    1 => state.confirm(order("a"), at(now)),
                    2 => state.extend(at(now + 15), at(60), at(now)),
                    3 => state.release(Some(order("a"))),
                    _ => state.expire(at(now)),
                };
                if !state.holds() {
                    prop_assert!(next.is_err());
                }
                state = next.unwrap_or(state);
                prop_assert_eq!(state.expires().is_some(), matches!(state, State::Pending { .. } | State::Live { .. }));
            }
        }
    }
}
