//! A clock of the test's own: `now()` means it in every statement and default, and it stands still between steps.

use sqlx::PgPool;

use super::rows::Millis;

/// Long after the start of any server, for which the reaper would wait.
const SETUP: &str = "
    create schema test_clock;
    create table test_clock.clock (at timestamptz not null);
    insert into test_clock.clock values ('2100-01-01');
    create function test_clock.now() returns timestamptz language sql stable
        as 'select at from test_clock.clock';
    create function test_clock.ms(at timestamptz) returns bigint language sql immutable strict
        as $$ select round(extract(epoch from at - '2100-01-01'::timestamptz) * 1000)::bigint $$;
    do $$
    declare
        owner record;
    begin
        execute format('alter database %I set search_path = test_clock, pg_catalog, public', current_database());
        set local search_path = test_clock, pg_catalog, public;
        for owner in
            select d.adrelid::regclass as relation, a.attname as name
            from pg_attrdef d
            join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
            join pg_class c on c.oid = d.adrelid
            where c.relnamespace = 'public'::regnamespace
              and pg_get_expr(d.adbin, d.adrelid) in ('now()', 'pg_catalog.now()')
        loop
            execute format('alter table %s alter column %I set default test_clock.now()', owner.relation, owner.name);
        end loop;
    end $$;
";

/// Replaces the clock of the database, for connections made from now on.
pub(super) async fn install(pool: &PgPool) {
    sqlx::raw_sql(SETUP).execute(pool).await.unwrap();
}

/// Sets the clock to so many milliseconds after its beginning.
pub(super) async fn set(pool: &PgPool, now: Millis) {
    sqlx::query("update test_clock.clock set at = '2100-01-01'::timestamptz + $1 * interval '1 millisecond'")
        .bind(now as f64)
        .execute(pool)
        .await
        .unwrap();
}
