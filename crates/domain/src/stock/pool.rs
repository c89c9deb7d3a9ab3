//! Pools: units of a position that only one channel may claim.
//!
//! A pool is full when nothing is claimed by its channel. What the channel has claimed counts against it, so that the units
//! that are still kept for it become fewer with each claim, and more again when a claim ends.

use std::sync::Arc;

/// Units of one position that are kept for one channel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pool {
    /// The channel.
    pub channel: Arc<str>,
    /// Units that are kept for it, with those that it has claimed.
    pub kept: i64,
    /// Units that it has claimed, part of what is reserved.
    pub claimed: i64,
}

impl Pool {
    /// Units that are kept for the channel and that it has not claimed yet.
    pub fn left(&self) -> i64 {
        (self.kept - self.claimed).max(0)
    }
}

/// Units that a channel may claim of a position, of which `atp` can be promised in all.
///
/// What is left of other channels' pools is not for it. Where pools together are larger than `atp`, each channel still has
/// what is left of its own, as far as `atp` reaches: the first one to claim it gets it.
pub fn available(atp: i64, pools: &[Pool], channel: Option<&str>) -> i64 {
    let (mut own, mut others) = (0, 0_i64);
    for pool in pools {
        if channel == Some(&*pool.channel) {
            own = pool.left();
        } else {
            others = others.saturating_add(pool.left());
        }
    }
    atp.saturating_sub(others).max(own.min(atp)).max(0)
}

/// What can be claimed of a position, and for whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Room {
    /// Units that can be promised in all.
    pub atp: i64,
    /// What is kept for single channels, each of them once.
    pub pools: Vec<Pool>,
}

impl Room {
    /// Units that a channel may claim.
    pub fn available(&self, channel: Option<&str>) -> i64 {
        if self.pools.is_empty() { self.atp } else { available(self.atp, &self.pools, channel) }
    }

    /// A channel claims units; below 0: it gives them back.
    pub fn claim(&mut self, channel: Option<&str>, units: i64) {
        self.atp = self.atp.saturating_sub(units);
        count(&mut self.pools, channel, units);
    }
}

/// Counts units that a channel claims against its pool; below 0: units that it gives back.
pub fn count(pools: &mut [Pool], channel: Option<&str>, units: i64) {
    if let Some(pool) = pools.iter_mut().find(|pool| channel == Some(&*pool.channel)) {
        pool.claimed = pool.claimed.saturating_add(units).max(0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Claim, Shortage, shortages};
    use super::*;

    const CHANNELS: [Option<&str>; 4] = [None, Some("app"), Some("till"), Some("web")];

    fn pool(channel: &str, kept: i64, claimed: i64) -> Pool {
        Pool { channel: channel.into(), kept, claimed }
    }

    #[test]
    fn a_basket_of_several_channels_takes_from_each_pool_once() {
        let kept = || Room { atp: 5, pools: vec![pool("app", 2, 0), pool("web", 2, 0)] };
        let claim = |channel, quantity| Claim { position: 0, quantity, channel };
        let decide = |claims: &[Claim<'static>]| shortages(claims, |_| kept());
        assert_eq!(decide(&[claim(None, 1), claim(Some("app"), 2), claim(Some("web"), 2)]), []);
        let short = |channel, wanted, available| [Shortage { position: 0, channel, wanted, available }];
        assert_eq!(decide(&[claim(None, 2)]), short(None, 2, 1));
        assert_eq!(decide(&[claim(Some("app"), 2), claim(Some("app"), 2)]), short(Some("app"), 4, 3));
        assert_eq!(decide(&[claim(Some("web"), 3), claim(Some("app"), 3)]), short(Some("web"), 3, 2));
    }

    #[test]
    fn the_last_unit_is_kept_for_its_channel() {
        let pools = [pool("app", 1, 0)];
        assert_eq!(CHANNELS.map(|channel| available(1, &pools, channel)), [0, 1, 0, 0]);
        assert_eq!(CHANNELS.map(|channel| available(4, &pools, channel)), [3, 4, 3, 3]);
    }

    #[test]
    fn what_a_channel_has_claimed_counts_against_its_pool() {
        let pools = [pool("app", 5, 3), pool("web", 2, 7)];
        assert_eq!(CHANNELS.map(|channel| available(6, &pools, channel)), [4, 6, 4, 4]);
    }

    #[test]
    fn where_pools_are_larger_than_the_stock_each_channel_still_has_its_own() {
        let pools = [pool("app", 3, 0), pool("web", 9, 0)];
        assert_eq!(CHANNELS.map(|channel| available(4, &pools, channel)), [0, 3, 0, 4]);
    }

    fn any_room() -> impl Strategy<Value = Room> {
        let one = |channel: &'static str| {
            prop::option::of((1..12_i64, 0..8_i64))
                .prop_map(move |pool_of| pool_of.map(|(kept, claimed)| pool(channel, kept, claimed)))
        };
        (0..30_i64, one("app"), one("till"), one("web"))
            .prop_map(|(atp, a, b, c)| Room { atp, pools: [a, b, c].into_iter().flatten().collect() })
    }

    proptest! {
        #[test]
        fn never_less_than_nothing_nor_more_than_there_is(room in any_room()) {
            for channel in CHANNELS {
                prop_assert!((0..=room.atp).contains(&room.available(channel)));
            }
        }

        #[test]
        fn a_channel_can_always_claim_what_is_left_of_its_own_pool_as_far_as_the_stock_reaches(
            room in any_room(),
        ) {
            for pool in &room.pools {
                prop_assert!(room.available(Some(&pool.channel)) >= pool.left().min(room.atp));
            }
        }

        #[test]
        fn no_channel_claims_what_is_left_of_another_while_the_stock_covers_all_pools(room in any_room()) {
            let left: i64 = room.pools.iter().map(Pool::left).sum();
            for channel in CHANNELS {
                let mut after = room.clone();
                after.claim(channel, room.available(channel));
                if left <= room.atp {
                    let left: i64 = after.pools.iter().map(Pool::left).sum();
                    prop_assert!(left <= after.atp, "{channel:?} took what was kept");
                }
            }
        }

        #[test]
        fn claims_of_all_channels_in_any_order_never_oversell(
            room in any_room(), claims in prop::collection::vec((0..4_usize, 1..9_i64), 0..30),
        ) {
            let (mut now, mut sold) = (room.clone(), 0);
            for (channel, units) in claims {
                let channel = CHANNELS[channel];
                let before = CHANNELS.map(|channel| now.available(channel));
                if units <= now.available(channel) {
                    now.claim(channel, units);
                    sold += units;
                }
                for (before, channel) in before.into_iter().zip(CHANNELS) {
                    prop_assert!(now.available(channel) <= before, "a claim makes no room");
                }
            }
            prop_assert!(sold <= room.atp && now.atp == room.atp - sold);
        }
    }
}
