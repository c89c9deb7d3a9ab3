//! Pickup codes: issued to the channel, kept as keyed hashes, looked up under a throttle.

use contract::fulfillment::v1 as pb;
use domain::fulfillment::Order;
use domain::fulfillment::code::{Code, Throttle};
use domain::id::{FulfillmentId, NodeId, OrderId};
use hmac::{Hmac, Mac};
use jiff::{SignedDuration, Timestamp};
use server::Principal;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::store::{code as store, work};
use crate::wire::work as wire;
use crate::work::change::may_work;
use crate::{Error, Fulfillment};
use db::Tx;

/// The key under which codes are hashed. Never shown.
pub(crate) struct Key(Hmac<Sha256>);

impl Key {
    /// The key made of a secret; without one, a random key that ends with the process.
    pub(crate) fn new(secret: &str) -> Self {
        let mut block = [0_u8; 64];
        if secret.is_empty() {
            tracing::warn!("no secret for pickup codes is set: codes end with this process");
            block[..16].copy_from_slice(domain::id::v7().as_bytes());
            block[16..32].copy_from_slice(domain::id::v7().as_bytes());
        } else {
            block[..32].copy_from_slice(&Sha256::digest(secret.as_bytes()));
        }
        Self(<Hmac<Sha256> as hmac::digest::KeyInit>::new(&block.into()))
    }

    /// The keyed hash of a code at a node.
    pub(crate) fn digest(&self, node: &NodeId, code: &Code) -> Vec<u8> {
        self.hash(&[node.as_str().as_bytes(), code.as_str().as_bytes()])
    }

    /// A keyed hash of a code for the hash of a request, so that no plain hash of a code is kept.
    pub(crate) fn blind(&self, typed: &str) -> String {
        crate::wire::token::hex(self.hash(&[b"request", typed.as_bytes()]).iter())
    }

    fn hash(&self, parts: &[&[u8]]) -> Vec<u8> {
        let mut mac = self.0.clone();
        for part in parts {
            Mac::update(&mut mac, part);
            Mac::update(&mut mac, &[0]);
        }
        mac.finalize().into_bytes().to_vec()
    }
}

/// Whether two keyed hashes are equal, in a time that does not tell where they differ.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// Asks for a new code.
pub(crate) struct IssueCode {
    pub(crate) order: OrderId,
}

/// Asks what a code opens.
pub(crate) struct FindByCode {
    pub(crate) node: NodeId,
    pub(crate) code: Code,
}

impl Fulfillment {
    /// Issues a code for what the customer of an order collects; the last one is void. It is told once and not kept.
    pub(crate) async fn issue_code(
        &self,
        who: &Principal,
        command: &IssueCode,
    ) -> Result<(Code, FulfillmentId), Error> {
        // A duplicate is a code that the node gave to somebody else: draw again.
        let again = |error: &Error| error.is_retry() || error.is_duplicate_code();
        db::retry(3, again, || self.try_issue(who, command)).await
    }

    async fn try_issue(&self, who: &Principal, command: &IssueCode) -> Result<(Code, FulfillmentId), Error> {
        let now = self.clock.business();
        let code = self.draw()?;
        let mut tx = self.db.begin().await?;
        let Some(id) = work::newest_of(&mut tx, command.order).await? else {
            return Err(Error::FulfillmentNotFound(command.order.to_string()));
        };
        let mut change = self.change(&mut tx, id, who.as_str(), now).await?;
        change.apply(Order::code_issued)?;
        let node = change.stored.order.node.clone();
        store::keep(&mut tx, id, &node, &self.work.key.digest(&node, &code), now).await?;
        self.save(&mut tx, &mut change).await?;
        tx.commit().await?;
        self.work.hub.wake(&node);
        Ok((code, id))
    }

    fn draw(&self) -> Result<Code, Error> {
        let mut bytes = vec![0_u8; self.work.config.pickup_code_chars];
        getrandom::fill(&mut bytes).map_err(|error| Error::Corrupt(format!("no random bytes: {error}")))?;
        Code::from_random(&bytes).map_err(|error| Error::Corrupt(format!("work.pickup_code_chars {error}")))
    }

    /// What a code opens. Misses are counted per caller and per node, and commit although the call is refused.
    pub(crate) async fn find_by_code(
        &self,
        who: &Principal,
        command: &FindByCode,
    ) -> Result<pb::FulfillmentOrder, Error> {
        db::retry(3, Error::is_retry, || self.try_find(who, command)).await
    }

    async fn try_find(&self, who: &Principal, command: &FindByCode) -> Result<pb::FulfillmentOrder, Error> {
        if !may_work(who, &command.node) {
            return Err(Error::CodeNotFound);
        }
        let now = self.clock.business();
        let mut tx = self.db.begin().await?;
        let guard = self.guard(&mut tx, who, &command.node, now).await?;
        let digest = self.work.key.digest(&command.node, &command.code);
        let found = match store::find(&mut tx, &command.node, &digest).await? {
            Some(id) => work::load(&mut tx, id).await?,
            None => None,
        };
        let Some(found) = found else {
            // Nobody guessed it, so it is no miss.
            if store::find_void(&mut tx, &command.node, &digest).await?.is_some() {
                return Err(Error::CodeVoid);
            }
            guard.missed(&mut tx, now).await?;
            tx.commit().await?;
            return Err(Error::CodeNotFound);
        };
        Ok(wire::fulfillment_order(&found))
    }

    /// Lets a caller look a code up at a node, or tells when it may.
    async fn guard(
        &self,
        tx: &mut Tx,
        who: &Principal,
        node: &NodeId,
        now: Timestamp,
    ) -> Result<Guard, Error> {
        let config = &self.work.config;
        let window = SignedDuration::from_secs(config.miss_window_s);
        let mut guard = Guard { counted: Vec::with_capacity(2) };
        // The same order everywhere, so that two callers never wait for each other.
        let scopes = [
            (format!("caller:{}@{node}", who.as_str()), config.caller_misses),
            (format!("node:{node}"), config.node_misses),
        ];
        for (scope, allowed) in scopes {
            let throttle = Throttle { allowed, window };
            let misses = store::lock_misses(tx, &scope, now).await?;
            throttle.admit(misses, now).map_err(|until| Error::Throttled { until, now })?;
            guard.counted.push((scope, throttle, misses));
        }
        Ok(guard)
    }
}

/// The right to look one code up.
struct Guard {
    counted: Vec<(String, Throttle, domain::fulfillment::code::Misses)>,
}

impl Guard {
    /// The code was wrong.
    async fn missed(&self, tx: &mut Tx, now: Timestamp) -> Result<(), Error> {
        for (scope, throttle, misses) in &self.counted {
            store::save_misses(tx, scope, throttle.missed(*misses, now)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_another_hash_at_each_node_and_under_each_key() {
        let code = Code::parse("01ABCDEF").unwrap();
        let [n1, n2] = ["N1", "N2"].map(|node| NodeId::new(node).unwrap());
        let key = Key::new("secret secret secret");
        assert!(same(&key.digest(&n1, &code), &key.digest(&n1, &code)));
        assert!(!same(&key.digest(&n1, &code), &key.digest(&n2, &code)));
        assert!(!same(&key.digest(&n1, &code), &Key::new("another secret").digest(&n1, &code)));
        assert!(!same(&Key::new("").digest(&n1, &code), &Key::new("").digest(&n1, &code)));
        assert!(!key.blind("01ABCDEF").contains("01ABCDEF"));
    }
}
