//! Connections on loan: every statement has a deadline, and a connection that is not in step with the server is
//! closed, never given back.
//!
//! sqlx sends statements without a deadline of its own, and a pool that gets a connection back whose statement was
//! abandoned first drains it, which on a connection that has gone silent takes as long as the kernel's patience.

use std::future::Future;
use std::io;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo, Postgres};
use sqlx::{Connection as _, Describe, Either, Execute, Executor, PgConnection, PgPool, SqlStr};
use tokio::time::timeout;

use crate::error::is_stale_plan;

/// How long a statement may take, with everything around it. The server's own limit ends it before.
const STATEMENT_DEADLINE: Duration = Duration::from_secs(6);
/// How long an idle connection may take to show that it is alive, and a used one that it is in step.
const PING_DEADLINE: Duration = Duration::from_millis(500);

/// The pool of connections. An executor: each statement runs on a connection of its own.
#[derive(Debug, Clone)]
pub(crate) struct Pool(PgPool);

impl Pool {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self(pool)
    }

    /// The pool itself, for what keeps a connection.
    pub(crate) fn inner(&self) -> &PgPool {
        &self.0
    }

    /// Begins a transaction of short statements.
    pub(crate) async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        self.begin_long(STATEMENT_DEADLINE).await
    }

    /// Begins a transaction whose statements may take so long.
    pub(crate) async fn begin_long(&self, deadline: Duration) -> Result<Transaction, sqlx::Error> {
        let mut loan = self.lend().await?;
        within(deadline, loan.connection()?.execute("begin")).await?;
        Ok(Transaction { loan, deadline })
    }

    async fn lend(&self) -> Result<Loan, sqlx::Error> {
        Ok(Loan(Some(self.0.acquire().await?)))
    }
}

/// Whether an idle connection still answers: to be asked before it is used.
pub(crate) async fn is_alive(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    within(PING_DEADLINE, connection.ping()).await.map(|()| true)
}

/// A connection of the pool. Closed when dropped, unless it is given back before.
#[derive(Debug)]
struct Loan(Option<PoolConnection<Postgres>>);

impl Loan {
    fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        self.0.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// Gives the connection back if the answer shows that it is in step with the server.
    fn conclude<T>(mut self, answer: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        let in_step = match &answer {
            Ok(_) => true,
            // A statement failed, and the connection goes on; the server closes it by itself where it does not.
            Err(error) => matches!(error, sqlx::Error::Database(_)) && !is_stale_plan(error),
        };
        if in_step && let Some(mut connection) = self.0.take() {
            // The pool looks whether it is in step, and must not wait for that without end. Not tracked: it is bounded,
            // and closing the pool waits for it.
            let returned = timeout(PING_DEADLINE, connection.return_to_pool());
            tokio::spawn(returned);
        }
        answer
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
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
