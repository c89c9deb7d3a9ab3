//! The key of pickup codes belongs to the database: a process with another key would know none of its codes.

use db::Db;

use crate::store::code as store;
use crate::{Error, Fulfillment};

/// Whether a database was used with a key for pickup codes. Without that key its codes open nothing.
pub async fn has_pickup_code_key(db: &Db) -> Result<bool, Error> {
    let mut tx = db.read().await?;
    Ok(store::fingerprint(&mut tx).await?.is_some())
}

impl Fulfillment {
    /// Notes the key at the first start, and refuses another one later, unless the settings say that it replaces the first.
    pub(crate) async fn know_key(&self) -> Result<(), Error> {
        if self.work.config.pickup_code_secret.reveal().is_empty() {
            return Ok(());
        }
        db::retry(3, Error::is_retry, || async {
            let now = self.clock.business();
            let ours = self.work.key.fingerprint();
            let mut tx = self.db.begin().await?;
            let noted = store::note_fingerprint(&mut tx, &ours, now).await?;
            if noted != ours {
                if !self.work.config.replace_pickup_code_key {
                    return Err(Error::OtherKey);
                }
                let void = store::replace_fingerprint(&mut tx, &ours, now).await?;
                tracing::warn!(void, "the key of pickup codes was replaced: codes issued so far are void");
            }
            Ok(tx.commit().await?)
        })
        .await
    }
}
