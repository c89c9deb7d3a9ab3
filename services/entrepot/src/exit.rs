//! How the program ends when it cannot go on: one line that says what and how to mend it, and a code by class.

use std::fmt;
use std::process::ExitCode;

/// What kind of thing went wrong; scripts go by the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Anything else.
    Other,
    /// Wrong flags or settings.
    Usage,
    /// A port cannot be taken.
    Bind,
    /// A database cannot be reached.
    Database,
    /// The broker cannot be reached.
    Broker,
    /// A database has a newer schema than this program knows.
    NewerSchema,
    /// A directory is missing, locked or not ours to write.
    Directory,
}

impl Class {
    /// The code of the process.
    pub const fn code(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Usage => 2,
            Self::Bind => 3,
            Self::Database => 4,
            Self::Broker => 5,
            Self::NewerSchema => 6,
            Self::Directory => 7,
        }
    }
}

/// Why the program ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// What kind.
    pub class: Class,
    /// What happened and how to mend it, on one line.
    pub message: String,
}

/// What commands answer with.
pub type Result<T> = std::result::Result<T, Exit>;

impl Exit {
    /// An end of this class.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self { class, message: message.split_whitespace().collect::<Vec<_>>().join(" ") }
    }

    /// Wrong flags or settings.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Class::Usage, message)
    }

    /// `what` failed because of `error`.
    pub fn other(what: &str, error: &dyn std::error::Error) -> Self {
        Self::new(Class::Other, format!("{what}: {error}"))
    }

    /// A call of the platform was refused.
    pub fn from_status(status: &tonic::Status) -> Self {
        let reason = server::status::reason(status).unwrap_or_else(|| format!("{:?}", status.code()));
        if reason == "PEER_UNREACHABLE" {
            let text = format!("{}; check that the platform runs at that address", status.message());
            return Self::new(Class::Other, text);
        }
        Self::new(Class::Other, format!("the platform refused the call ({reason}): {}", status.message()))
    }

    /// The database of `service` failed.
    pub fn database(service: &str, error: &db::Error) -> Self {
        match error {
            db::Error::NewerSchema { .. } => Self::new(
                Class::NewerSchema,
                format!(
                    "database {service}: {error}; start the newer version of entrepot that made it, or restore a backup"
                ),
            ),
            db::Error::Unavailable(_) => Self::new(
                Class::Database,
                format!("database {service}: {error}; check that it runs and that database.url names it"),
            ),
            other => Self::new(Class::Database, format!("database {service}: {other}")),
        }
    }

    /// The bus failed.
    pub fn bus(what: &str, error: &bus::Error) -> Self {
        let error = error.to_string();
        let hint = if error.contains("InvalidReplicationFactor") {
            "set bus.replication to the number of brokers at most"
        } else {
            "check that the broker runs and that bus.brokers names it"
        };
        Self::new(Class::Broker, format!("{what}: {error}; {hint}"))
    }

    /// The code of the process.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.class.code())
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Exit {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_one_line() {
        assert_eq!(Exit::usage("a\n  b\tc").message, "a b c");
    }

    #[test]
    fn a_newer_schema_has_its_own_code() {
        let error = db::Error::NewerSchema { set: "orders".to_owned(), found: 3, known: 1 };
        let exit = Exit::database("orders", &error);
        assert_eq!(exit.class.code(), 6);
        assert!(exit.message.contains("newer version"), "{exit}");
    }
}
