//! Connections on loan: every statement has a deadline, and a connection that is not in step with the server is
//! closed, never given back.
//!
//! sqlx sends statements without a deadline of its own. Its pool asks every connection that comes back whether it is in
//! step, which costs each statement another round trip, and on a connection that has gone silent takes as long as the
//! kernel's patience; hence another pool.

use std::future::Future;
use std::io;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{self, Metrics, Object, PoolError, QueueMode, RecycleError, RecycleResult};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::postgres::{PgConnectOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo, Postgres};
use sqlx::{Connection as _, Describe, Either, Execute, Executor, PgConnection, SqlStr};
use tokio::time::timeout;

use crate::error::is_stale_plan;

/// How long a statement may take, with everything around it. The server's own limit ends it before.
const STATEMENT_DEADLINE: Duration = Duration::from_secs(6);
/// How long a call waits for a connection before it fails as unavailable.
pub(crate) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an idle connection may take to show that it is alive.
const PING_DEADLINE: Duration = Duration::from_millis(500);
/// A connection that was lent less than this ago is taken as it is. One that broke since then fails its statement, as
/// if it had broken a moment later, under way. Else every statement of a busy process would cost another round trip.
const IN_DOUBT: Duration = Duration::from_millis(10);
/// How old a connection may become, and how long one is kept that nobody needs.
const LIFETIME: Duration = Duration::from_secs(30 * 60);
const IDLE_TIME: Duration = Duration::from_secs(10 * 60);
/// How often those are looked for.
const TRIM_PERIOD: Duration = Duration::from_secs(60);
/// The first and the longest pause before another try to connect to a server that is just coming up.
const RETRY_PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(500)];
/// How often a closing pool looks whether its connections have come back.
const CLOSING_PERIOD: Duration = Duration::from_millis(10);

/// Opens connections, and looks at those that were idle before they are lent again.
#[derive(Debug)]
struct Connector(PgConnectOptions);

impl managed::Manager for Connector {
    type Type = PgConnection;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<PgConnection, sqlx::Error> {
        let [mut pause, longest] = RETRY_PAUSES;
        loop {
            match PgConnection::connect_with(&self.0).await {
                Err(error) if is_coming_up(&error) => tokio::time::sleep(pause).await,
                connected => return connected,
            }
            pause = longest.min(pause * 2);
        }
    }

    async fn recycle(&self, connection: &mut PgConnection, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        if metrics.age() > LIFETIME {
            return Err(RecycleError::message("old"));
        }
        if metrics.last_used() >= IN_DOUBT {
            connection.ping().await?;
        }
        Ok(())
    }
}

/// Whether a connection is refused by a server that will take one soon, as far as is known.
fn is_coming_up(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == io::ErrorKind::ConnectionRefused,
        sqlx::Error::Database(error) => error.is_transient_in_connect_phase(),
        _ => false,
    }
}

/// The pool of connections. An executor: each statement runs on a connection of its own.
#[derive(Debug, Clone)]
pub(crate) struct Pool(managed::Pool<Connector>);

impl Pool {
    /// A pool of at most so many connections; opens none yet.
    pub(crate) fn new(options: PgConnectOptions, most: usize) -> Self {
        let pool = managed::Pool::builder(Connector(options))
            .max_size(most)
            .wait_timeout(Some(ACQUIRE_TIMEOUT))
            .create_timeout(Some(ACQUIRE_TIMEOUT))
            .recycle_timeout(Some(PING_DEADLINE))
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a runtime for its timeouts is given");
        tokio::spawn(trim(pool.weak()));
        Self(pool)
    }

    /// How to open connections like its own.
    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.0.manager().0
    }

    /// Begins a transaction of short statements.
    pub(crate) async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        self.begin_long(STATEMENT_DEADLINE).await
    }

    /// Begins a transaction whose statements may take so long.
    pub(crate) async fn begin_long(&self, deadline: Duration) -> Result<Transaction, sqlx::Error> {
        self.begin_by("begin", deadline).await
    }

    /// Begins a transaction of short statements, each planned for the values it is given.
    pub(crate) async fn begin_planning(&self) -> Result<Transaction, sqlx::Error> {
        self.begin_by("begin; set local plan_cache_mode = force_custom_plan", STATEMENT_DEADLINE).await
    }

    async fn begin_by(
        &self,
        statements: &'static str,
        deadline: Duration,
    ) -> Result<Transaction, sqlx::Error> {
        let mut loan = self.lend().await?;
        within(deadline, loan.connection()?.execute(statements)).await?;
        Ok(Transaction { loan, deadline })
    }

    /// A connection that does not come back.
    pub(crate) async fn take(&self) -> Result<PgConnection, sqlx::Error> {
        Ok(Object::take(self.object().await?))
    }

    async fn lend(&self) -> Result<Loan, sqlx::Error> {
        Ok(Loan(Some(self.object().await?)))
    }

    async fn object(&self) -> Result<Object<Connector>, sqlx::Error> {
        self.0.get().await.map_err(|error| match error {
            PoolError::Backend(error) => error,
            PoolError::Closed => sqlx::Error::PoolClosed,
            PoolError::Timeout(_) | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
                sqlx::Error::PoolTimedOut
            }
        })
    }

    /// Closes every connection, those in use when they come back.
    pub(crate) async fn close(&self) {
        self.0.close();
        while self.0.status().size > 0 {
            tokio::time::sleep(CLOSING_PERIOD).await;
        }
    }
}

/// Closes connections that nobody needs any more, for as long as there is a pool.
async fn trim(pool: managed::WeakPool<Connector>) {
    loop {
        tokio::time::sleep(TRIM_PERIOD).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.retain(|_, metrics| metrics.last_used() < IDLE_TIME);
    }
}

/// A connection of the pool. Closed when dropped, unless it is given back before.
#[derive(Debug)]
struct Loan(Option<Object<Connector>>);

impl Loan {
    fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        self.0.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// Gives the connection back if the answer shows that it is in step with the server: the whole answer was read.
    fn conclude<T>(mut self, answer: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        let in_step = match &answer {
            Ok(_) => true,
            // A statement failed, and the connection goes on; the server closes it by itself where it does not.
            Err(error) => matches!(error, sqlx::Error::Database(_)) && !is_stale_plan(error),
        };
        if in_step {
            drop(self.0.take());
        }
        answer
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(Object::take(connection));
        }
    }
}

pub(crate) async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let elapsed =
        |_| sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the database does not answer"));
    timeout(deadline, call).await.map_err(elapsed)?
}

/// A transaction. Rolled back when dropped, by closing its connection.
#[derive(Debug)]
pub(crate) struct Transaction {
    loan: Loan,
    deadline: Duration,
}

impl Transaction {
    /// Commits. After an error it is not known whether it did.
    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        self.end("commit").await
    }

    /// Undoes what was done, and keeps the connection.
    pub(crate) async fn roll_back(self) -> Result<(), sqlx::Error> {
        self.end("rollback").await
    }

    async fn end(mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        let ended = within(self.deadline, self.loan.connection()?.execute(statement)).await;
        self.loan.conclude(ended).map(drop)
    }
}

type Step = Either<PgQueryResult, PgRow>;

async fn steps<'q, Q>(connection: &mut PgConnection, query: Q) -> Result<Vec<Step>, sqlx::Error>
where
    Q: 'q + Execute<'q, Postgres>,
{
    connection.fetch_many(query).try_collect().await
}

fn streamed<'e>(
    steps: impl Future<Output = Result<Vec<Step>, sqlx::Error>> + Send + 'e,
) -> BoxStream<'e, Result<Step, sqlx::Error>> {
    let steps = stream::once(steps).map_ok(|steps| stream::iter(steps.into_iter().map(Ok)));
    steps.try_flatten().boxed()
}

impl<'p> Executor<'p> for &'p Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, Q>(self, query: Q) -> BoxStream<'e, Result<Step, sqlx::Error>>
    where
        'p: 'e,
        Q: 'q + Execute<'q, Postgres>,
    {
        streamed(async move {
            let mut loan = self.lend().await?;
            let answer = within(STATEMENT_DEADLINE, steps(loan.connection()?, query)).await;
            loan.conclude(answer)
        })
    }

    fn fetch_optional<'e, 'q: 'e, Q>(self, query: Q) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'p: 'e,
        Q: 'q + Execute<'q, Postgres>,
    {
        Box::pin(async move {
            let mut loan = self.lend().await?;
            let answer = within(STATEMENT_DEADLINE, loan.connection()?.fetch_optional(query)).await;
            loan.conclude(answer)
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'p: 'e,
    {
        Box::pin(async move {
            let mut loan = self.lend().await?;
            let answer = within(STATEMENT_DEADLINE, loan.connection()?.prepare_with(sql, parameters)).await;
            loan.conclude(answer)
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'p: 'e,
    {
        Box::pin(async move {
            let mut loan = self.lend().await?;
            let answer = within(STATEMENT_DEADLINE, loan.connection()?.describe(sql)).await;
            loan.conclude(answer)
        })
    }
}

impl<'t> Executor<'t> for &'t mut Transaction {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, Q>(self, query: Q) -> BoxStream<'e, Result<Step, sqlx::Error>>
    where
        't: 'e,
        Q: 'q + Execute<'q, Postgres>,
    {
        streamed(async move { within(self.deadline, steps(self.loan.connection()?, query)).await })
    }

    fn fetch_optional<'e, 'q: 'e, Q>(self, query: Q) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        't: 'e,
        Q: 'q + Execute<'q, Postgres>,
    {
        Box::pin(async move { within(self.deadline, self.loan.connection()?.fetch_optional(query)).await })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        't: 'e,
    {
        Box::pin(
            async move { within(self.deadline, self.loan.connection()?.prepare_with(sql, parameters)).await },
        )
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        't: 'e,
    {
        Box::pin(async move { within(self.deadline, self.loan.connection()?.describe(sql)).await })
    }
}
