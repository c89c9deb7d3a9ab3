//! What time alone does: payments lapse, orders expire, pieces that nobody answered for are dropped, refunds are asked for
//! again, holds are extended until the stock is confirmed, pieces that a node could not do are looked for, and an order
//! without news for long asks.

use std::collections::HashMap;

use domain::id::{self, FulfillmentId, OrderId, PromiseToken};
use domain::order::{Changed, Order, Refusal};
use domain::time::{Timestamp, after_ms, micros};
use futures_util::future::join_all;

use crate::error::Error;
use crate::hold::{self, Held, Wanted};
use crate::store::{self, Change, Loaded, Note};
use crate::{Orders, steps};

/// Who acts when time does.
const ACTOR: &str = "service/orders";
/// How many orders are looked for at once.
const BATCH: i64 = 100;
/// When an order that could not be dealt with is looked at again, in milliseconds.
const LATER_MS: i64 = 10_000;

/// How many orders look for pieces at the same time.
const SEEKERS: usize = 16;

/// What is due of an order.
enum Due {
    Lapse,
    Expire,
    /// A customer did not answer in time.
    Silence,
    /// A refund is asked for again.
    Refund,
    Extend,
    /// Pieces that a node could not do are looked for.
    Seek,
    Check,
}

/// What became of an order that was attended to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attended {
    Done,
    /// It looks for pieces, together with others.
    Seeks,
}

impl Orders {
    /// Does what is due, and answers how often something was done.
    pub async fn run_due(&self, now: Timestamp) -> Result<usize, Error> {
        self.run(now, true).await
    }

    /// Does what is due and ends nothing: refunds are asked for again, holds are extended, pieces are looked for, orders
    /// without news ask.
    pub async fn run_upkeep(&self, now: Timestamp) -> Result<usize, Error> {
        self.run(now, false).await
    }

    async fn run(&self, now: Timestamp, ends: bool) -> Result<usize, Error> {
        self.policies.keep_in_step().await?;
        let mut done = 0;
        let mut seen: HashMap<OrderId, u32> = HashMap::new();
        let mut is_away = false;
        loop {
            let mut tx = self.db.read().await?;
            let due = if ends {
                store::due(&mut tx, now, BATCH).await?
            } else {
                store::due_upkeep(&mut tx, now, BATCH).await?
            };
            drop(tx);
            if due.is_empty() {
                return Ok(done);
            }
            done += due.len();
            let mut seekers = Vec::new();
            for order in due {
                let times = seen.entry(order).or_default();
                *times += 1;
                // Lapse and expiry may be due at once; an order that stays due after that waits for its next turn.
                let ran = if *times > 3 {
                    Err(Error::ChangedMeanwhile)
                } else {
                    self.attend(order, now, is_away).await
                };
                match ran {
                    Ok(Attended::Done) => {}
                    Ok(Attended::Seeks) => seekers.push(order),
                    Err(error) => is_away |= self.later(order, &error, now).await?,
                }
            }
            is_away = self.seek_all(&seekers, is_away, now).await?;
        }
    }

    /// Looks for the pieces of orders, some orders at a time: a node that closes may fail hundreds at once. Answers whether
    /// a peer is away; then the rest waits.
    async fn seek_all(&self, orders: &[OrderId], mut is_away: bool, now: Timestamp) -> Result<bool, Error> {
        for some in orders.chunks(SEEKERS) {
            if is_away {
                for order in some {
                    self.postpone(*order, after_ms(now, LATER_MS)).await?;
                }
                continue;
            }
            let sought = join_all(some.iter().map(|order| self.seek(*order, now))).await;
            for (order, result) in some.iter().zip(sought) {
                if let Err(error) = result {
                    is_away |= self.later(*order, &error, now).await?;
                }
            }
        }
        Ok(is_away)
    }

    /// An order that could not be dealt with waits. Answers whether a peer is away: it is asked once a turn, as payments must
    /// lapse meanwhile.
    async fn later(&self, order: OrderId, error: &Error, now: Timestamp) -> Result<bool, Error> {
        tracing::warn!(order_id = %order, %error, "what is due is tried again later");
        self.postpone(order, after_ms(now, LATER_MS)).await?;
        Ok(matches!(error, Error::Peer(_)))
    }

    async fn postpone(&self, order: OrderId, until: Timestamp) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        store::postpone(&mut tx, order, until).await?;
        tx.commit().await?;
        Ok(())
    }

    /// How many orders lapse, expire or lose pieces that nobody answered for at `now`, counted up to `limit`. What else is
    /// due ends nothing.
    pub async fn overdue(&self, now: Timestamp, limit: usize) -> Result<usize, Error> {
        let mut tx = self.db.read().await?;
        let due = store::overdue(&mut tx, now, i64::try_from(limit).unwrap_or(i64::MAX)).await?;
        Ok(usize::try_from(due).unwrap_or(usize::MAX))
    }

    /// When something is due next.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, Error> {
        let mut tx = self.db.read().await?;
        store::next_due(&mut tx).await
    }

    async fn attend(&self, id: OrderId, now: Timestamp, is_away: bool) -> Result<Attended, Error> {
        let order = self.find(id).await?;
        let done = match self.due(&order, now) {
            None => self.rewrite(id).await,
            Some(Due::Lapse) => self.change(id, now, None, Order::lapse).await,
            Some(Due::Expire) => self.change(id, now, None, Order::expire).await,
            Some(Due::Silence) => self.change(id, now, None, Order::stay_silent).await,
            Some(Due::Refund) => self.change(id, now, None, Order::retry_refunds).await,
            Some(Due::Seek) => return Ok(Attended::Seeks),
            Some(Due::Extend) if is_away => self.postpone(id, after_ms(now, LATER_MS)).await,
            Some(Due::Extend) => self.extend_hold(&order, now).await,
            Some(Due::Check) => {
                let wait = if is_away { LATER_MS } else { self.check_work(&order, now).await? };
                // Its other clocks go on meanwhile.
                let (check, other) = (after_ms(now, wait), order.due_but_check(&self.policy));
                self.postpone(id, other.map_or(check, |other| other.min(check))).await
            }
        };
        done.map(|()| Attended::Done)
    }

    /// The order, after time has done to it what is due by now: a payment or an answer must not find an order that has
    /// lapsed, expired or waited long enough and only was not attended to yet.
    pub(crate) async fn find_as_of(&self, id: OrderId, now: Timestamp) -> Result<Order, Error> {
        loop {
            let order = self.find(id).await?;
            match self.due(&order, now) {
                // Each ends for good what made it due, so that this ends too.
                Some(Due::Lapse | Due::Expire | Due::Silence) => {
                    self.attend(id, now, false).await?;
                }
                Some(Due::Refund | Due::Extend | Due::Seek | Due::Check) | None => return Ok(order),
            }
        }
    }

    fn due(&self, order: &Order, now: Timestamp) -> Option<Due> {
        let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        if is_due(order.lapse_at()) {
            Some(Due::Lapse)
        } else if is_due(order.expire_at()) {
            Some(Due::Expire)
        } else if is_due(order.silent_at()) {
            Some(Due::Silence)
        } else if is_due(order.retry_at()) {
            Some(Due::Refund)
        } else if is_due(order.extend_at(&self.policy)) {
            Some(Due::Extend)
        } else if is_due(order.seek_at()) {
            Some(Due::Seek)
        } else if is_due(order.check_at(&self.policy)) {
            Some(Due::Check)
        } else {
            None
        }
    }

    /// Writes the order's due time again: it was looked at too early.
    async fn rewrite(&self, id: OrderId) -> Result<(), Error> {
        self.adjust(id, |_| ()).await
    }

    /// A transition that time makes, and a step of the timeline that no event stands for. One that is not due any more was
    /// made by another process.
    pub(crate) async fn change(
        &self,
        id: OrderId,
        now: Timestamp,
        note: Option<Note>,
        transition: impl Fn(Order, Timestamp) -> Result<Changed, Refusal>,
    ) -> Result<(), Error> {
        self.try_change(id, now, note, transition).await.map(|_| ())
    }

    /// The same; false: it is not due any more.
    pub(crate) async fn try_change(
        &self,
        id: OrderId,
        now: Timestamp,
        note: Option<Note>,
        transition: impl Fn(Order, Timestamp) -> Result<Changed, Refusal>,
    ) -> Result<bool, Error> {
        let write = || async {
            let mut tx = self.db.begin().await?;
            let before = store::lock(&mut tx, id).await?;
            match transition(before.order.clone(), now) {
                Ok(changed) => {
                    let notes = note.clone().into_iter().collect();
                    self.record(&mut tx, before, changed, notes, ACTOR, now).await?;
                }
                Err(Refusal::NotDue) => return Ok(false),
                Err(refusal) => return Err(refusal.into()),
            }
            tx.commit().await?;
            Ok(true)
        };
        let is_made = db::retry(3, Error::is_retry, write).await?;
        self.watchers.wake(&id.uuid());
        Ok(is_made)
    }

    /// Changes what nobody else sees.
    pub(crate) async fn adjust(&self, id: OrderId, change: impl Fn(&mut Order)) -> Result<(), Error> {
        let write = || async {
            let mut tx = self.db.begin().await?;
            let before = store::lock(&mut tx, id).await?;
            let mut order = before.order.clone();
            change(&mut order);
            let change = Change { before: &before, order: &order, notes: &[] };
            self.save(&mut tx, &[change], &[]).await?;
            tx.commit().await?;
            Ok(())
        };
        db::retry(3, Error::is_retry, write).await
    }

    /// Holds the stock of an order for longer, promise by promise. When it is gone: of an unpaid order it is held again, and
    /// if that is refused too, its payment must do so; of a released one inventory does so by itself when it confirms.
    async fn extend_hold(&self, order: &Order, now: Timestamp) -> Result<(), Error> {
        let left = order.lapse_at().map(|lapse| (micros(lapse) - micros(now)) / 1_000);
        let until = after_ms(now, self.config.hold_ms(left));
        let is_due = |ends: Timestamp| after_ms(ends, -self.policy.hold_margin_ms) <= now;
        for (token, _) in order.holds().into_iter().filter(|(_, ends)| is_due(*ends)) {
            self.extend_one(order, token, until, now).await?;
        }
        Ok(())
    }

    async fn extend_one(
        &self,
        order: &Order,
        token: PromiseToken,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        match self.extend(token, until).await {
            Ok(held) if hold::is_live(&held, now) => {
                let until = hold::expiry(&held).unwrap_or(until);
                return self.adjust(order.id, |order| order.hold_extended(token, until)).await;
            }
            Err(Error::Peer(answer)) if !hold::is_definite(&answer) => return Err(Error::Peer(answer)),
            Ok(_) | Err(Error::Peer(_)) => {}
            Err(error) => return Err(error),
        }
        if order.is_released() {
            return self.adjust(order.id, |order| order.hold_extended(token, until)).await;
        }
        self.hold_again(order.id, token, until, now).await
    }

    async fn hold_again(
        &self,
        id: OrderId,
        token: PromiseToken,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        // Read again: the promise before this one may have changed it.
        let order = self.find(id).await?;
        let gone: Vec<FulfillmentId> = order.held_by(token).map(|leg| leg.id).collect();
        let Some(ends) = order.held_by(token).map(|leg| micros(leg.held_until)).min() else { return Ok(()) };
        // with its version: what is left of the order may be less at the next try, and an id belongs to one request
        let key = format!("{id}/{token}/{ends}/{}", order.version);
        let wanted =
            Wanted { instead_of: gone.clone(), ..Wanted::of(&order, order.parts_without(token, now)) };
        match self.hold(&id::derived("orders.again", &key).to_string(), &wanted, until, now).await {
            Ok(held) => {
                let write = || self.replace_hold(&order, token, &held, now);
                if !db::retry(3, Error::is_retry, write).await? {
                    self.release(held.token).await;
                }
                Ok(())
            }
            Err(error) => match hold::refusal(&error) {
                Some(reason) => self.lose_hold(id, &gone, &reason, now).await,
                None => Err(error),
            },
        }
    }

    async fn lose_hold(
        &self,
        id: OrderId,
        gone: &[FulfillmentId],
        reason: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        tracing::info!(order_id = %id, reason, "the hold of an unpaid order is lost");
        let text = format!("the hold had ended and could not be taken again ({reason}); a payment tries it");
        let note = steps::note("HOLD_LOST", text, ACTOR, now);
        self.change(id, now, Some(note), |order, now| order.lose_hold(gone, now)).await
    }

    /// Puts other legs in the place of those of a promise that is gone. False: the order changed, the legs are not needed.
    async fn replace_hold(
        &self,
        seen: &Order,
        gone: PromiseToken,
        held: &Held,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let before: Loaded = store::lock(&mut tx, seen.id).await?;
        let order = before.order.clone();
        let is_same = order.legs == seen.legs && !order.is_released();
        if !is_same || self.due(&order, now).is_none_or(|due| !matches!(due, Due::Extend)) {
            return Ok(false);
        }
        let Ok(changed) = order.replace_legs(gone, held.legs.clone(), now) else { return Ok(false) };
        let note = steps::note("HELD_AGAIN", "the hold had ended and was taken again".to_owned(), ACTOR, now);
        self.record(&mut tx, before, changed, vec![note], ACTOR, now).await?;
        tx.commit().await?;
        Ok(true)
    }
}
