use std::collections::BTreeMap;

use darkroom_jobs::TenantId;
use darkroom_store::testing::TestDatabase;
use darkroom_store::{Store, StoreConfig};

use crate::builder::{TestWorker, accept, in_lane, lane, new_job, succeed, tenant};

/// A store with a connection for each of many workers.
async fn wide(database: &TestDatabase) -> Store {
    let config = StoreConfig { db_connections: 24, ..database.config.clone() };
    Store::connect(&config, "test").await.unwrap()
}

async fn limit(database: &TestDatabase, tenant: TenantId, max_running: u32) {
    database.execute(&format!("update tenants set max_running = {max_running} where id = '{tenant}'")).await;
}

/// So many workers ask at the same moment: what they got, by tenant.
async fn ask_at_once(store: &Store, workers: usize) -> BTreeMap<TenantId, usize> {
    let mut asking = Vec::new();
    for _ in 0..workers {
        let store = store.clone();
        asking.push(tokio::spawn(async move { TestWorker::start(&store).await.lease(&store).await }));
    }
    let mut got = BTreeMap::new();
    for answer in asking {
        if let Some(leased) = answer.await.unwrap() {
            *got.entry(leased.tenant).or_default() += 1;
        }
    }
    got
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_limit_is_exact_however_many_workers_ask_at_once() {
    let database = TestDatabase::create().await;
    let store = wide(&database).await;
    let (limited, free) = (tenant(&store, "limited").await, tenant(&store, "free").await);
    limit(&database, limited, 3).await;
    for _ in 0..40 {
        accept(&store, new_job(limited)).await;
    }
    for _ in 0..20 {
        accept(&store, new_job(free)).await;
    }
    let running = format!("select count(*) from jobs where state = 'running' and tenant_id = '{limited}'");
    let mut of_limited = 0;
    // Again and again with one place left: that is when two workers could both believe that it is theirs.
    for round in 0..12 {
        let got = ask_at_once(&store, 12).await;
        of_limited += got.get(&limited).copied().unwrap_or(0);
        let seen = database.count(&running).await;
        assert!(seen <= 3, "round {round}: {seen} of 3 run");
        database
            .execute(&format!(
                "with ended as (
                     update jobs set state = 'canceled', lease_token = null, finished_at = now()
                     where id = (select id from jobs where state = 'running' and tenant_id = '{limited}' limit 1)
                     returning id
                 )
                 update attempts set state = 'canceled', finished_at = now() where job_id in (select id from ended)"
            ))
            .await;
    }
    // Nobody is kept from what is left: one more each round, but for those in which all workers met.
    assert!(of_limited >= 10, "only {of_limited} jobs of the limited tenant were leased");
    assert_eq!(
        database
            .count(&format!("select count(*) from jobs where state = 'running' and tenant_id = '{free}'"))
            .await,
        20
    );
    store.close().await;
    database.drop_database().await;
}

#[tokio::test]
async fn a_tenant_at_its_limit_lets_others_pass_and_goes_on_when_a_job_ends() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let (limited, free) = (tenant(store, "limited").await, tenant(store, "free").await);
    limit(&database, limited, 2).await;
    for name in ["m", "n", "m", "n"] {
        accept(store, in_lane(new_job(limited), name)).await;
    }
    let other = accept(store, new_job(free)).await;
    let mut worker = TestWorker::start(store).await;
    worker.lanes = vec![lane("m"), lane("n")];
    let first = worker.take(store).await;
    let mut rest = vec![worker.take(store).await, worker.take(store).await];
    assert!(rest.iter().any(|leased| leased.lease.job == other));
    assert!(worker.lease(store).await.is_none(), "the limit counts the jobs of all lanes");
    succeed(store, &first).await;
    rest.push(worker.take(store).await);
    assert_eq!(rest.iter().filter(|leased| leased.tenant == limited).count(), 2);
    assert!(worker.lease(store).await.is_none());
    limit(&database, limited, 1).await;
    succeed(store, rest.iter().find(|leased| leased.tenant == limited).unwrap()).await;
    assert!(worker.lease(store).await.is_none(), "a lower limit holds for what is leased from then on");
    database.drop_database().await;
}

#[tokio::test]
async fn a_tenant_may_be_stopped_altogether() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let stopped = tenant(store, "stopped").await;
    limit(&database, stopped, 0).await;
    accept(store, new_job(stopped)).await;
    let worker = TestWorker::start(store).await;
    assert!(worker.lease(store).await.is_none());
    database.execute("update tenants set max_running = null").await;
    worker.take(store).await;
    database.drop_database().await;
}

#[tokio::test]
async fn nobody_waits_for_a_tenants_row() {
    let database = TestDatabase::create().await;
    let store = wide(&database).await;
    let (limited, free) = (tenant(&store, "limited").await, tenant(&store, "free").await);
    limit(&database, limited, 5).await;
    accept(&store, new_job(limited)).await;
    accept(&store, new_job(free)).await;
    let worker = TestWorker::start(&store).await;
    // Somebody who holds it for far longer than a lease does.
    let holding = database.execute(
        "begin; update tenants set name = name where max_running is not null; select pg_sleep(2); commit",
    );
    let leasing = async {
        let held =
            "select count(*) from pg_stat_activity where state = 'active' and query like '%pg_sleep(2)%'
                    and wait_event = 'PgSleep' and datname = current_database()";
        while database.count(held).await == 0 {}
        let leased = worker.take(&store).await;
        let nothing = worker.lease(&store).await;
        (leased.tenant, nothing.is_none(), database.count(held).await)
    };
    let (_, leased) = tokio::join!(holding, leasing);
    assert_eq!(leased, (free, true, 1), "another tenant's job is leased at once, and then there is none");
    worker.take(&store).await;
    store.close().await;
    database.drop_database().await;
}

#[tokio::test]
async fn a_paused_lane_is_skipped_until_it_is_resumed() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let paused = accept(store, in_lane(new_job(owner), "paused")).await;
    let open = accept(store, in_lane(new_job(owner), "open")).await;
    let name = lane("paused");
    database.execute(&format!("insert into lanes (lane, paused_at) values ('{name}', now())")).await;
    let mut worker = TestWorker::start(store).await;
    worker.lanes = vec![lane("paused"), lane("open")];
    worker.loaded = vec![lane("paused")];
    assert_eq!(worker.take(store).await.lease.job, open);
    assert!(worker.lease(store).await.is_none());
    database.execute("update lanes set paused_at = null").await;
    assert_eq!(worker.take(store).await.lease.job, paused);
    database.drop_database().await;
}
