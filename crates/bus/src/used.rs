//! Which transport the events of a database went over: on another one, what the first still holds would not arrive.

use db::{Db, params};

use crate::Error;

/// A transport, as a database remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// `local` or `kafka`.
    pub kind: String,
    /// What is put before the names of its topics: under another prefix are other topics.
    pub prefix: String,
}

impl Used {
    /// The transport of this kind whose topics have this prefix.
    pub fn new(kind: &str, prefix: &str) -> Self {
        Self { kind: kind.to_owned(), prefix: prefix.to_owned() }
    }

    /// The transport within one process.
    pub fn local() -> Self {
        Self::new(LOCAL, "")
    }
}

/// What becomes of a start with one transport on a database that was used with another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is the one that was used, or the database is new.
    Admitted,
    /// It is another one, and the database now remembers that.
    Switched {
        /// The one used before.
        from: Used,
    },
    /// It is another one, and must not be used.
    Refused {
        /// The one used before.
        used: Used,
    },
}

/// Remembers with the data that the transport `wanted` is used. Leaving Kafka, or its topics of one prefix, needs
/// `may_leave`: the log may hold events that consumers have not read. The local bus holds none: what it acknowledged is applied, the rest is in the outbox.
pub async fn admit(db: &Db, wanted: &Used, may_leave: bool) -> Result<Admission, Error> {
    let mut tx = db.begin().await?;
    let row = tx.lock_one("SELECT kind, prefix FROM transport AS t WHERE id = 1 {lock:t}", params![]).await?;
    let read = |row: db::Row| Ok::<_, db::Error>(Used { kind: row.get("kind")?, prefix: row.get("prefix")? });
    let used = row.map(read).transpose()?;
    let admission = match used {
        Some(used) if used == *wanted => return Ok(Admission::Admitted),
        Some(used) if used.kind != LOCAL && !may_leave => return Ok(Admission::Refused { used }),
        Some(from) => Admission::Switched { from },
        None => Admission::Admitted,
    };
    tx.execute(
        "INSERT INTO transport (id, kind, prefix) VALUES (1, $1, $2)
         ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, prefix = excluded.prefix",
        params![wanted.kind.as_str(), wanted.prefix.as_str()],
    )
    .await?;
    tx.commit().await?;
    Ok(admission)
}

/// The transport within one process.
const LOCAL: &str = "local";
