//! The key under which pickup codes are hashed.

use domain::fulfillment::code::Code;
use domain::id::{NodeId, Uuid};
use hmac::{Hmac, Mac};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The key under which codes are hashed. Never shown.
pub(crate) struct Key(Hmac<Sha256>);

impl Key {
    /// The key made of a secret; without one, a random key that ends with the process.
    pub(crate) fn new(secret: &str) -> Self {
        let mut block = [0_u8; 64];
        if secret.is_empty() {
            tracing::warn!("no secret for pickup codes is set: codes end with this process");
            block[..16].copy_from_slice(Uuid::new_v4().as_bytes());
            block[16..32].copy_from_slice(Uuid::new_v4().as_bytes());
        } else {
            block[..32].copy_from_slice(&Sha256::digest(secret.as_bytes()));
        }
        Self(<Hmac<Sha256> as hmac::digest::KeyInit>::new(&block.into()))
    }

    /// What tells this key from another, and nothing about it.
    pub(crate) fn fingerprint(&self) -> Vec<u8> {
        self.hash(&[b"fingerprint"])
    }

    /// The keyed hash of a code at a node.
    pub(crate) fn digest(&self, node: &NodeId, code: &Code) -> Vec<u8> {
        self.hash(&[node.as_str().as_bytes(), code.as_str().as_bytes()])
    }

    /// A keyed hash of a code for the hash of a request, so that no plain hash of a code is kept.
    pub(crate) fn blind(&self, typed: &str) -> String {
        hex::encode(self.hash(&[b"request", typed.as_bytes()]))
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
