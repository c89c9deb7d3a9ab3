//! The two engines.

/// Which database runs the statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// A PostgreSQL server, shared by any number of processes.
    Postgres,
    /// One file, owned by one process.
    Sqlite,
}

impl Engine {
    /// `postgres` or `sqlite`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Sqlite => "sqlite",
        }
    }

    /// Whether plans follow statistics of the tables, which somebody has to gather, and not the indexes alone.
    pub fn has_statistics(self) -> bool {
        match self {
            Self::Postgres => true,
            Self::Sqlite => false,
        }
    }

    /// Whether the database has a clock of its own; the time of a file is that of the one process that owns it.
    pub fn has_own_clock(self) -> bool {
        match self {
            Self::Postgres => true,
            Self::Sqlite => false,
        }
    }
}
