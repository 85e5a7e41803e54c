mod rows;
mod shape;

use darkroom_store::testing::{TestDatabase, migration_versions};
use darkroom_store::{Error, MINIMUM_SCHEMA};
use sqlx::{Connection as _, PgConnection};

use self::rows::{Rows, fill, rows, survived};
use self::shape::{same, shape};

const TABLES: &str = "select count(*) from information_schema.tables where table_schema = 'public'";

#[tokio::test]
async fn migrations_go_up_down_and_up_again() {
    let database = TestDatabase::create().await;
    let up = database.count(TABLES).await;
    database.store.undo_migrations(0).await.unwrap();
    assert_eq!(database.count(TABLES).await, 1, "only the table of migrations is left");
    let refused = database.store.check_schema().await;
    assert!(matches!(refused, Err(Error::SchemaTooOld { found: 0, minimum: MINIMUM_SCHEMA })), "{refused:?}");
    database.store.migrate().await.unwrap();
    assert_eq!(database.count(TABLES).await, up);
    database.drop_database().await;
}

/// What a version is, and what was in the database when the next one came.
struct Version {
    number: i64,
    shape: Vec<String>,
    rows: Rows,
}

/// Steps up through all versions, with rows in every table at each; then down, at each version up and down once
/// more, as a release that is taken back and tried again.
#[tokio::test]
async fn rows_survive_every_step_up_and_down() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    store.undo_migrations(0).await.unwrap();
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let mut versions: Vec<Version> = Vec::new();
    for number in migration_versions() {
        store.migrate_to(number).await.unwrap();
        if let Some(before) = versions.last() {
            let now = rows(&mut connection).await;
            survived(&before.rows, &now, &format!("after {number}"));
        }
        fill(&mut connection).await;
        let (shape, rows) = (shape(&mut connection).await, rows(&mut connection).await);
        versions.push(Version { number, shape, rows });
    }
    for pair in versions.windows(2).rev() {
        let [older, newer] = pair else { unreachable!("windows of two") };
        for _ in 0..2 {
            let when = format!("back from {} at {}", newer.number, older.number);
            store.undo_migrations(older.number).await.unwrap_or_else(|error| panic!("{when}: {error:?}"));
            same(&shape(&mut connection).await, &older.shape, &when);
            survived(&older.rows, &rows(&mut connection).await, &when);
            let when = format!("at {} again", newer.number);
            store.migrate_to(newer.number).await.unwrap_or_else(|error| panic!("{when}: {error:?}"));
            same(&shape(&mut connection).await, &newer.shape, &when);
            survived(&older.rows, &rows(&mut connection).await, &when);
        }
        store.undo_migrations(older.number).await.unwrap();
    }
    connection.close().await.unwrap();
    database.drop_database().await;
}

#[tokio::test]
async fn migrating_at_once_from_two_places_works() {
    let database = TestDatabase::create().await;
    database.store.undo_migrations(0).await.unwrap();
    let (a, b) = tokio::join!(database.store.migrate(), database.store.migrate());
    assert_eq!(a.unwrap(), b.unwrap());
    database.drop_database().await;
}

#[tokio::test]
async fn a_newer_schema_is_fine() {
    let database = TestDatabase::create().await;
    database
        .execute(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
             values (9999, 'from the future', true, '', 0)",
        )
        .await;
    database.store.check_schema().await.unwrap();
    assert_eq!(database.store.migrate().await.unwrap(), 9999);
    database.drop_database().await;
}

#[tokio::test]
async fn a_statement_that_was_prepared_before_a_migration_works_the_next_time() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let id = crate::builder::tenant(store, "a").await;
    let name =
        async || Ok::<_, Error>(store.tenants().await?.into_iter().find(|it| it.id == id).unwrap().name);
    // On every idle connection, which the pool lends in turn.
    for _ in 0..2 * database.config.db_connections {
        assert_eq!(name().await.unwrap(), "a");
    }
    database.execute("alter table tenants alter column name type varchar(200)").await;
    // Each connection has prepared it for itself.
    let mut failures = 0;
    let found = loop {
        match name().await {
            Ok(found) => break found,
            Err(error) => assert!(error.is_transient(), "{error:?}"),
        }
        failures += 1;
        assert!(failures <= database.config.db_connections, "it never works again");
    };
    assert_eq!(found, "a");
    assert!(failures > 0, "the statement was not prepared before");
    database.drop_database().await;
}

#[tokio::test]
async fn every_column_and_table_has_a_comment() {
    let database = TestDatabase::create().await;
    let silent = database
        .count(
            "select count(*) from pg_attribute a join pg_class c on c.oid = a.attrelid
             where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace and a.attnum > 0
               and c.relname <> '_sqlx_migrations'
               and (col_description(a.attrelid, a.attnum) is null or obj_description(c.oid) is null)",
        )
        .await;
    assert_eq!(silent, 0);
    database.drop_database().await;
}
