use darkroom_store::testing::TestDatabase;
use darkroom_store::{Error, MINIMUM_SCHEMA};

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
