//! The store under test, on a database whose clock is the model's.

use darkroom_jobs::{Event, Lane, WebhookId};
use darkroom_store::testing::TestDatabase;
use darkroom_store::{NewWebhook, Store};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

use super::clock;
use super::step::Tenant;

pub(super) struct System {
    pub(super) store: Store,
    /// For what no service asks the store.
    pub(super) tables: PgPool,
    database: TestDatabase,
}

impl System {
    pub(super) async fn start() -> Self {
        let database = TestDatabase::create().await;
        let plain = PgPoolOptions::new().max_connections(1).connect(database.url()).await.unwrap();
        clock::install(&plain).await;
        plain.close().await;
        let store = Store::connect(&database.config, "test").await.unwrap();
        let tables = PgPoolOptions::new().max_connections(1).connect(database.url()).await.unwrap();
        let system = Self { store, tables, database };
        for tenant in Tenant::ALL {
            system.make(tenant).await;
        }
        system
    }

    /// Forgets every job and worker, and sets the clock back.
    pub(super) async fn clear(&self) {
        let all = "delete from jobs; delete from outbox; delete from workers; delete from lanes;
                   delete from webhook_deliveries;";
        sqlx::raw_sql(all).execute(&self.tables).await.unwrap();
        clock::set(&self.tables, 0).await;
    }

    async fn make(&self, tenant: Tenant) {
        self.store.create_tenant(tenant.id(), &format!("tenant {}", tenant.0)).await.unwrap();
        let most = tenant.max_running().map(|most| i32::try_from(most).unwrap());
        let limit = sqlx::query("update tenants set max_running = $2 where id = $1");
        limit.bind(tenant.id().as_uuid()).bind(most).execute(&self.tables).await.unwrap();
        if tenant.has_webhook() {
            let new = NewWebhook {
                id: WebhookId::from_uuid(Uuid::now_v7()),
                tenant: tenant.id(),
                url: "https://example.com".into(),
                description: String::new(),
                events: Event::FINAL.to_vec(),
                secret: vec![1; 32].into(),
            };
            self.store.create_webhook(&new).await.unwrap().unwrap();
        }
    }

    pub(super) async fn pause(&self, lane: &Lane) {
        let pause = sqlx::query(
            "insert into lanes (lane, paused_at) values ($1, now())
             on conflict (lane) do update set paused_at = excluded.paused_at",
        );
        pause.bind(lane.to_string()).execute(&self.tables).await.unwrap();
    }

    pub(super) async fn resume(&self, lane: &Lane) {
        let resume = sqlx::query("update lanes set paused_at = null where lane = $1");
        resume.bind(lane.to_string()).execute(&self.tables).await.unwrap();
    }

    pub(super) async fn stop(self) {
        self.store.close().await;
        self.tables.close().await;
        self.database.drop_database().await;
    }
}
