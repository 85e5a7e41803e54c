use std::time::Duration;

use chrono::{Days, NaiveDate};
use darkroom_jobs::{Failure, FailureClass, JobId, Retry, TenantId};
use darkroom_store::testing::TestDatabase;
use darkroom_store::{Canceled, DailyUsage, NewJob, Outcome, RolledUp, Settled, Store};
use rust_decimal::Decimal;

use crate::builder::{
    TestWorker, accept, in_lane, lane, let_backoffs_end, let_leases_expire, new_job, record, tenant,
};

async fn finish(store: &Store, job: NewJob, outcome: &Outcome) -> JobId {
    let mut worker = TestWorker::start(store).await;
    worker.lanes = vec![job.submission.lane.clone()];
    let id = accept(store, job).await;
    let leased = worker.take(store).await;
    record(store, &leased.lease).await;
    store.settle(&leased.lease, outcome, 1).await.unwrap();
    id
}

async fn succeed(store: &Store, job: NewJob) -> JobId {
    finish(store, job, &Outcome::Succeeded { timings: [].into() }).await
}

/// As if everything so far had happened so many days earlier.
async fn let_days_pass(database: &TestDatabase, days: i32) {
    database
        .execute(&format!(
            "update jobs set finished_at = finished_at - {days} * interval '1 day';
             update usage_mark set rolled_through = rolled_through - {days}"
        ))
        .await;
}

async fn today(store: &Store) -> NaiveDate {
    store.now().await.unwrap().date_naive()
}

/// The last ten days.
async fn usage(store: &Store, tenant: TenantId) -> Vec<DailyUsage> {
    let today = today(store).await;
    store.usage(tenant, today - Days::new(9), today).await.unwrap()
}

async fn roll_up_everything(store: &Store) -> Vec<RolledUp> {
    let mut days = Vec::new();
    while let Some(rolled) = store.roll_up_day().await.unwrap() {
        days.push(rolled);
    }
    days
}

fn nothing(day: NaiveDate) -> DailyUsage {
    DailyUsage {
        day,
        lane: lane("m"),
        currency: "USD".into(),
        succeeded: 0,
        failed: 0,
        canceled: 0,
        expired: 0,
        artifacts: 0,
        units: 0,
        cost: 0.into(),
    }
}

#[tokio::test]
async fn an_answer_is_the_same_before_and_after_its_days_are_rolled_up() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let (owner, other) = (tenant(store, "a").await, tenant(store, "b").await);
    succeed(store, new_job(owner)).await;
    succeed(store, new_job(other)).await;
    let_days_pass(&database, 1).await;
    succeed(store, new_job(owner)).await;
    succeed(store, new_job(owner)).await;
    succeed(store, in_lane(new_job(owner), "n")).await;
    succeed(store, NewJob { currency: "EUR".into(), ..new_job(owner) }).await;
    let failure = Failure::new(FailureClass::InvalidInput, "no picture");
    finish(store, new_job(owner), &Outcome::Failed { failure, retry: Retry::Never, avoid: None }).await;
    accept(store, new_job(owner)).await;
    database.execute("update jobs set deadline = now() where state = 'queued'").await;
    store.expire(10).await.unwrap();
    let canceled = accept(store, new_job(owner)).await;
    store.cancel(owner, canceled).await.unwrap();
    accept(store, new_job(owner)).await;
    let_days_pass(&database, 2).await;

    let (second, first) = (today(store).await - Days::new(2), today(store).await - Days::new(3));
    let one = |day| DailyUsage {
        succeeded: 1,
        artifacts: 1,
        units: 4096,
        cost: "0.02".parse().unwrap(),
        ..nothing(day)
    };
    let expected = [
        one(first),
        DailyUsage { currency: "EUR".into(), ..one(second) },
        DailyUsage {
            succeeded: 2,
            failed: 1,
            canceled: 1,
            expired: 1,
            artifacts: 2,
            units: 8192,
            cost: "0.04".parse().unwrap(),
            ..nothing(second)
        },
        DailyUsage { lane: lane("n"), ..one(second) },
    ];
    assert_eq!(usage(store, owner).await, expected);
    assert_eq!(usage(store, other).await, [one(first)]);
    let rows: Vec<RolledUp> =
        roll_up_everything(store).await.into_iter().filter(|day| day.rows > 0).collect();
    assert_eq!(rows, [RolledUp { day: first, rows: 2 }, RolledUp { day: second, rows: 3 }]);
    assert_eq!(usage(store, owner).await, expected);
    database.execute("delete from jobs").await;
    assert_eq!(usage(store, owner).await, expected, "rolled up days need no jobs");
    assert_eq!(usage(store, other).await, [one(first)]);
    assert_eq!(store.usage(owner, first, first).await.unwrap(), [one(first)], "both ends are included");
    database.drop_database().await;
}

#[tokio::test]
async fn days_are_rolled_up_in_order_up_to_the_last_that_is_over_for_an_hour() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    succeed(store, new_job(owner)).await;
    let_days_pass(&database, 5).await;
    succeed(store, new_job(owner)).await;
    let rolled = roll_up_everything(store).await;
    let days: Vec<NaiveDate> = rolled.iter().map(|rolled| rolled.day).collect();
    let first = today(store).await - Days::new(5);
    let expected: Vec<NaiveDate> = first.iter_days().take(days.len()).collect();
    assert_eq!(days, expected, "days on which nothing ended are not left out");
    assert_eq!(rolled.iter().map(|rolled| rolled.rows).sum::<u64>(), 1);
    let not_over = database
        .count(
            "select (((now() - interval '1 hour') at time zone 'UTC')::date - rolled_through)::bigint
             from usage_mark",
        )
        .await;
    assert_eq!(not_over, 1);
    assert!((1..=2).contains(&store.days_not_rolled_up().await.unwrap()));
    assert_eq!(usage(store, owner).await.len(), 2, "today is computed");
    database.drop_database().await;
}

#[tokio::test]
async fn two_dispatchers_at_once_roll_each_day_up_once() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    for _ in 0..20 {
        succeed(store, new_job(owner)).await;
        let_days_pass(&database, 1).await;
    }
    let_days_pass(&database, 2).await;
    let today = today(store).await;
    let all = async || store.usage(owner, today - Days::new(30), today).await.unwrap();
    let before = all().await;
    assert_eq!(before.len(), 20);
    let mut days = Vec::new();
    loop {
        let (a, b) = tokio::join!(store.roll_up_day(), store.roll_up_day());
        assert_eq!(all().await, before);
        let rolled: Vec<RolledUp> = [a.unwrap(), b.unwrap()].into_iter().flatten().collect();
        if rolled.is_empty() {
            break;
        }
        days.extend(rolled.into_iter().filter(|day| day.rows > 0).map(|day| day.day));
    }
    days.sort();
    assert_eq!(days, before.iter().map(|usage| usage.day).collect::<Vec<_>>());
    database.drop_database().await;
}

#[tokio::test]
async fn a_swept_job_stays_until_its_day_is_rolled_up() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    let id = succeed(store, new_job(owner)).await;
    let used = usage(store, owner).await;
    assert_eq!((used.len(), used[0].succeeded, used[0].artifacts), (1, 1, 1));
    store.delete(owner, id).await.unwrap();
    assert_eq!(usage(store, owner).await, used, "deleted jobs were used");
    store.mark_swept(id).await.unwrap();
    assert_eq!(store.delete_swept_jobs(10).await.unwrap(), 0);
    assert_eq!(usage(store, owner).await, used);

    let_days_pass(&database, 2).await;
    let used = usage(store, owner).await;
    assert_eq!(store.delete_swept_jobs(10).await.unwrap(), 0);
    roll_up_everything(store).await;
    assert_eq!(store.delete_swept_jobs(10).await.unwrap(), 1);
    assert_eq!(usage(store, owner).await, used);
    database.drop_database().await;
}

#[tokio::test]
async fn a_day_begins_and_ends_at_midnight_utc() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    for time in ["2020-01-31T23:59:59.999999Z", "2020-02-01T00:00:00Z"] {
        let id = succeed(store, new_job(owner)).await;
        database.execute(&format!("update jobs set finished_at = '{time}' where id = '{id}'")).await;
    }
    database.execute("update usage_mark set rolled_through = '2020-01-30'").await;
    let (january, february) = ("2020-01-31".parse().unwrap(), "2020-02-01".parse().unwrap());
    let days = async || {
        let used = store.usage(owner, january, february).await.unwrap();
        used.into_iter().map(|usage| (usage.day, usage.succeeded)).collect::<Vec<_>>()
    };
    assert_eq!(days().await, [(january, 1), (february, 1)]);
    assert_eq!(store.roll_up_day().await.unwrap(), Some(RolledUp { day: january, rows: 1 }));
    assert_eq!(days().await, [(january, 1), (february, 1)]);
    database.drop_database().await;
}

#[tokio::test]
async fn jobs_that_ended_before_usage_was_kept_are_counted() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    succeed(store, new_job(owner)).await;
    let_days_pass(&database, 4).await;
    let used = usage(store, owner).await;
    assert_eq!((used.len(), used[0].artifacts), (1, 1));
    store.undo_migrations(1).await.unwrap();
    store.migrate().await.unwrap();
    assert_eq!(usage(store, owner).await, used);
    assert_eq!(roll_up_everything(store).await[0], RolledUp { day: used[0].day, rows: 1 });
    assert_eq!(usage(store, owner).await, used);
    database.drop_database().await;
}

#[tokio::test]
async fn a_job_is_charged_at_most_once_whatever_becomes_of_its_attempts() {
    let database = TestDatabase::create().await;
    let store = &database.store;
    let owner = tenant(store, "a").await;
    // Every change of a cost, whichever statement makes it.
    database
        .execute(
            "create table charged (id uuid);
             create function witness() returns trigger language plpgsql as
                 $$ begin insert into charged values (new.id); return new; end $$;
             create trigger witness after update on jobs
                 for each row when (old.cost is distinct from new.cost) execute function witness();",
        )
        .await;
    let success = Outcome::Succeeded { timings: [].into() };
    let failure = Failure::new(FailureClass::Infrastructure, "no store");
    let retry = Outcome::Failed { failure, retry: Retry::After(Duration::ZERO), avoid: None };

    let worker = TestWorker::start(store).await;
    let id = accept(store, new_job(owner)).await;
    let first = worker.take(store).await;
    record(store, &first.lease).await;
    store.settle(&first.lease, &retry, 1).await.unwrap();
    let_backoffs_end(&database).await;
    let lost = worker.take(store).await;
    let_leases_expire(&database).await;
    store.reap(10, 0.0).await.unwrap();
    let_backoffs_end(&database).await;
    let last = worker.take(store).await;
    for _ in 0..3 {
        assert_eq!(store.settle(&last.lease, &success, 1).await.unwrap(), Settled::Done, "a lost reply");
    }
    for late in [&first, &lost] {
        assert_eq!(store.settle(&late.lease, &success, 1).await.unwrap(), Settled::LeaseGone);
    }
    assert_eq!(store.cancel(owner, id).await.unwrap(), Canceled::AlreadyFinal);

    let mut succeeded = 1;
    for _ in 0..30 {
        let id = accept(store, new_job(owner)).await;
        let leased = worker.take(store).await;
        record(store, &leased.lease).await;
        let settling = || store.settle(&leased.lease, &success, 1);
        let (canceled, one, two) = tokio::join!(store.cancel(owner, id), settling(), settling());
        let won = canceled.unwrap() == Canceled::AlreadyFinal;
        assert_eq!([one.unwrap(), two.unwrap()].contains(&Settled::Done), won);
        succeeded += i64::from(won);
    }
    assert_eq!(database.count("select count(*) from charged").await, succeeded);
    assert_eq!(database.count("select count(distinct id) from charged").await, succeeded);
    assert_eq!(database.count("select count(*) from jobs where cost is not null").await, succeeded);
    let used = usage(store, owner).await;
    let price: Decimal = "0.02".parse().unwrap();
    assert_eq!(used[0].cost, (price * Decimal::from(succeeded)).normalize());
    database.drop_database().await;
}
