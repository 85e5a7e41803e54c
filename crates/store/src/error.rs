//! What can go wrong with the database, by what a caller can do about it.

/// A failed call. Nothing was changed unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached, is restarting, gave up on a lock, or was migrated: try again. A statement whose
    /// connection broke may have been committed; idempotency keys and lease tokens make repeating it safe.
    #[error("the database is unavailable")]
    Unavailable(#[source] sqlx::Error),

    /// The database does not let this program in: wrong user or password, or no such database.
    #[error("the database refused the login: {0}")]
    Login(String),

    /// The schema is older than this program needs.
    #[error(
        "the database schema is at version {found}, this program needs {minimum}: run `darkroom-api migrate`"
    )]
    SchemaTooOld {
        /// Newest applied migration; 0 for an empty database.
        found: i64,
        /// Oldest version this program runs on.
        minimum: i64,
    },

    /// A migration failed.
    #[error("failed to migrate the database")]
    Migrate(#[source] sqlx::migrate::MigrateError),

    /// A name that is taken.
    #[error("{what} `{name}` exists already")]
    Exists {
        /// What was to be made.
        what: &'static str,
        /// Its name.
        name: String,
    },

    /// A name or id that stands for nothing.
    #[error("there is no {what} `{name}`")]
    Missing {
        /// What was looked for.
        what: &'static str,
        /// Its name or id.
        name: String,
    },

    /// A row holds a value that this program does not understand.
    #[error("{table}.{column} of {id} holds an unreadable value")]
    BadRow {
        /// Which table.
        table: &'static str,
        /// Which column.
        column: &'static str,
        /// Which row.
        id: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// Anything else the database said.
    #[error("the database refused a statement")]
    Database(#[source] sqlx::Error),
}

impl Error {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// Whether the database as a whole could not be reached, so that others may not have reached it either: not a
    /// deadlock, a lock that took too long, or a row that cannot be read.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unavailable(sqlx::Error::Database(error)) => error
                .code()
                .is_some_and(|code| ["57P", "08", "53"].iter().any(|class| code.starts_with(class))),
            Self::Unavailable(_) => true,
            _ => false,
        }
    }

    /// Whether the database undid the transaction in favour of another one: it is to be done again.
    pub(crate) fn is_undone(&self) -> bool {
        let Self::Unavailable(sqlx::Error::Database(error)) = self else { return false };
        error.code().is_some_and(|code| code == "40001" || code == "40P01")
    }

    /// Whether the connection ended under the statement, and another one may serve it at once. What became of the
    /// statement is not known.
    pub(crate) fn is_interruption(&self) -> bool {
        match self {
            Self::Unavailable(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08"))
            }
            Self::Unavailable(sqlx::Error::Io(error)) => error.kind() != std::io::ErrorKind::TimedOut,
            _ => false,
        }
    }

    pub(crate) fn bad_row(
        table: &'static str,
        column: &'static str,
        id: impl ToString,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::BadRow { table, column, id: id.to_string(), source: source.into() }
    }
}

/// SQLSTATEs after which the same statement may succeed: serialization failure and deadlock, lock not
/// available, query canceled (our own time-outs), shutdowns and crashes, too many connections, and class 08.
const TRANSIENT: [&str; 9] =
    ["40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03", "57P05", "53300"];

/// Whether a statement was prepared on a schema that has changed since. The connection has to go, and the statement
/// with it: on another one it is prepared anew.
pub(crate) fn is_stale_plan(error: &sqlx::Error) -> bool {
    // The code alone stands for anything that is not supported.
    let stale = |error: &dyn sqlx::error::DatabaseError| {
        error.code().as_deref() == Some("0A000") && error.message().contains("cached plan")
    };
    matches!(error, sqlx::Error::Database(error) if stale(error.as_ref()))
}

/// Whether a SQLSTATE is about authorization, or a database that does not exist.
fn is_login(code: &str) -> bool {
    code.starts_with("28") || code == "3D000"
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let transient = match &error {
            error if is_stale_plan(error) => true,
            sqlx::Error::Database(database) if database.code().is_some_and(|code| is_login(&code)) => {
                return Self::Login(database.message().to_owned());
            }
            sqlx::Error::Database(database) => {
                database.code().is_some_and(|code| TRANSIENT.contains(&&*code) || code.starts_with("08"))
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            _ => false,
        };
        if transient { Self::Unavailable(error) } else { Self::Database(error) }
    }
}
