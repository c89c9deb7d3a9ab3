//! Which transport the events of a database went over: on another one, what the first still holds would not arrive.

use db::{Db, params};

use crate::Error;

/// What becomes of a start with one transport on a database that was used with another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is the one that was used, or the database is new.
    Admitted,
    /// It is another one, and the database now remembers that.
    Switched {
        /// The one used before.
        from: String,
    },
    /// It is another one, and must not be used.
    Refused {
        /// The one used before.
        used: String,
    },
}

/// Remembers with the data that the transport `kind` is used. Leaving Kafka needs `may_leave`: the log may hold events
/// that consumers have not read. The local bus holds none: what it acknowledged is applied, the rest is in the outbox.
pub async fn admit(db: &Db, kind: &'static str, may_leave: bool) -> Result<Admission, Error> {
    let mut tx = db.begin().await?;
    let row = tx.lock_one("SELECT kind FROM transport AS t WHERE id = 1 {lock:t}", params![]).await?;
    let used: Option<String> = row.map(|row| row.get("kind")).transpose()?;
    let admission = match used {
        Some(used) if used == kind => return Ok(Admission::Admitted),
        Some(used) if used != LOCAL && !may_leave => return Ok(Admission::Refused { used }),
        Some(from) => Admission::Switched { from },
        None => Admission::Admitted,
    };
    tx.execute(
        "INSERT INTO transport (id, kind) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET kind = excluded.kind",
        params![kind],
    )
    .await?;
    tx.commit().await?;
    Ok(admission)
}

/// The transport within one process.
const LOCAL: &str = "local";
