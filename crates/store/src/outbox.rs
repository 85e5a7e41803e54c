//! The outbox: rows on their way to become tickets.

use darkroom_jobs::Lane;

use crate::{Error, Store};

/// A claimed row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its id.
    pub id: i64,
    /// The lane whose queue gets the ticket.
    pub lane: Lane,
}

impl Store {
    /// How long a claimed row is left alone before it is published again.
    const CLAIM_SECONDS: f64 = 10.0;

    /// Claims due rows by moving them ahead. No lock is held while their tickets are published: a relay that dies
    /// leaves rows that come due again, so a ticket may be published twice.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn claim_outbox(&self, limit: i64) -> Result<Vec<OutboxRow>, Error> {
        // The array is computed once, whatever the planner believes about the table: it is nearly empty most of
        // the time, and a plan made for that would evaluate a joined subquery, and its limit, for every row.
        let rows = sqlx::query!(
            r#"
            update outbox set available_at = now() + $2 * interval '1 second'
            where id = any(array(
                select id from outbox where available_at <= now()
                order by available_at limit $1
                for update skip locked
            ))
            -- Not synced to disk: what is lost of it is done again.
            returning id, lane, set_config('synchronous_commit', 'off', true) as relaxed
            "#,
            limit,
            Self::CLAIM_SECONDS
        )
        .fetch_all(&self.pool)
        .await?;
        // A lane of a newer release does not hold up the others; its row comes due again.
        let readable = rows.into_iter().filter_map(|row| match row.lane.parse::<Lane>() {
            Ok(lane) => Some(OutboxRow { id: row.id, lane }),
            Err(error) => {
                tracing::warn!(row = row.id, %error, "an outbox row names no lane");
                None
            }
        });
        Ok(readable.collect())
    }

    /// Deletes rows whose tickets the broker has taken.
    ///
    /// # Errors
    /// When the database is unavailable; the tickets will be published again.
    pub async fn delete_outbox(&self, ids: &[i64]) -> Result<(), Error> {
        // Not synced to disk, as above.
        sqlx::query!(
            "delete from outbox where id = any($1)
             returning set_config('synchronous_commit', 'off', true) as relaxed",
            ids
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(())
    }

    /// Rows in the outbox, and the age in seconds of the one that has been due longest.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn outbox_depth(&self) -> Result<(i64, f64), Error> {
        let row = sqlx::query!(
            r#"select count(*) as "rows!",
                      coalesce(extract(epoch from now() - min(available_at)), 0)::float8 as "late_s!" from outbox"#
        )
        .fetch_one(&self.pool)
        .await?;
        Ok((row.rows, row.late_s.max(0.0)))
    }
}
