//! Events that this process has committed just now, kept in memory for the relay beside it: it then reads their
//! pointers only. What is not here any more, or was committed elsewhere, is read from `events`.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use db::Tx;
use uuid::Uuid;

use crate::Delivered;
use crate::outbox::Appended;

/// Events kept at most.
const EVENTS: usize = 4_096;
/// Bytes of their payloads at most.
const BYTES: usize = 8 * 1024 * 1024;

/// An aggregate and a sequence: one event among those of one database, and never another one once it is committed.
type Place = (Uuid, i64);

/// The memory of one database.
#[derive(Default)]
pub(crate) struct Fresh {
    is_wanted: AtomicBool,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    events: HashMap<Place, Arc<Delivered>>,
    /// The oldest first; some are taken already.
    order: VecDeque<Place>,
    bytes: usize,
}

/// Keeps events for the relay once `tx` is committed, if there is one that leads in this process.
pub(crate) fn keep(tx: &mut Tx, events: &[Appended<'_>]) {
    let fresh = tx.db().attached::<Fresh>();
    if fresh.is_wanted.load(Ordering::Relaxed) {
        let events: Vec<Delivered> = events.iter().filter_map(delivered).collect();
        tx.after_commit(move || fresh.keep(events));
    }
}

/// The event as its row would be read: with times in microseconds.
fn delivered(appended: &Appended<'_>) -> Option<Delivered> {
    let Appended { id, event, traceparent } = appended;
    Some(Delivered {
        id: *id,
        topic: event.topic,
        aggregate_type: event.aggregate_type.to_owned(),
        aggregate: event.aggregate,
        sequence: event.sequence,
        event_type: event.event_type.to_owned(),
        payload: Bytes::copy_from_slice(&event.payload),
        occurred_at: crate::event::from_micros(event.occurred_at.as_microsecond()).ok()?,
        actor: event.actor.clone(),
        traceparent: traceparent.map(ToOwned::to_owned),
    })
}

impl Fresh {
    /// Whether a relay of this process leads. When none does any more, nothing is kept.
    pub(crate) fn want(&self, is_wanted: bool) {
        if self.is_wanted.swap(is_wanted, Ordering::Relaxed) && !is_wanted {
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Kept::default();
        }
    }

    /// Takes those that are here, in the order asked for.
    pub(crate) fn take(&self, places: impl Iterator<Item = Place>) -> Vec<Option<Arc<Delivered>>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        places.map(|place| kept.remove(place)).collect()
    }

    fn keep(&self, events: Vec<Delivered>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            kept.add(event);
        }
    }
}

impl Kept {
    fn add(&mut self, event: Delivered) {
        let place = (event.aggregate, event.sequence);
        self.remove(place);
        self.bytes += event.payload.len();
        self.events.insert(place, Arc::new(event));
        self.order.push_back(place);
        while self.order.len() > EVENTS || self.bytes > BYTES {
            let Some(oldest) = self.order.pop_front() else { return };
            self.remove(oldest);
        }
    }

    fn remove(&mut self, place: Place) -> Option<Arc<Delivered>> {
        let event = self.events.remove(&place)?;
        self.bytes -= event.payload.len();
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::Topic;

    fn event(sequence: i64, bytes: usize) -> Delivered {
        Delivered {
            id: Uuid::from_u128(7),
            topic: Topic::Orders,
            aggregate_type: "order".to_owned(),
            aggregate: Uuid::from_u128(1),
            sequence,
            event_type: "entrepot.orders.v1.OrderPlaced".to_owned(),
            payload: Bytes::from(vec![0; bytes]),
            occurred_at: Timestamp::UNIX_EPOCH,
            actor: "channel/web".to_owned(),
            traceparent: None,
        }
    }

    fn takes(fresh: &Fresh, sequence: i64) -> bool {
        fresh.take([(Uuid::from_u128(1), sequence)].into_iter())[0].is_some()
    }

    #[test]
    fn the_oldest_make_room_by_number_and_by_bytes() {
        let fresh = Fresh::default();
        let last = i64::try_from(EVENTS).unwrap() + 1;
        fresh.keep((1..=last).map(|sequence| event(sequence, 1)).collect());
        assert!(!takes(&fresh, 1));
        assert!(takes(&fresh, 2) && takes(&fresh, last));
        fresh.keep(vec![event(last + 1, BYTES / 2), event(last + 2, BYTES / 2), event(last + 3, BYTES / 2)]);
        assert!(!takes(&fresh, last + 1), "its bytes were needed");
        assert!(takes(&fresh, last + 2) && takes(&fresh, last + 3));
    }

    #[test]
    fn each_is_taken_once_and_none_outlives_the_leader() {
        let fresh = Fresh::default();
        fresh.want(true);
        fresh.keep(vec![event(1, 10), event(2, 10)]);
        assert!(takes(&fresh, 1) && !takes(&fresh, 1));
        fresh.want(false);
        assert!(!takes(&fresh, 2));
        assert_eq!(fresh.kept.lock().unwrap().bytes, 0);
    }
}
