//! A whole service for tests that only use it, and break nothing.

use crate::deployment::{Catalog, Deployment};
use crate::environment::optional;
use crate::service::Service;

/// A service with the demo models and a worker: the one that `TEST_DARKROOM_URL`, `TEST_DARKROOM_API_KEY`,
/// `TEST_DARKROOM_DATABASE_URL`, `TEST_DARKROOM_ADMIN_URL` and `TEST_DARKROOM_ADMIN_KEY` name, or else one made for the test.
#[derive(Debug)]
pub struct Running {
    /// Where it answers.
    url: String,
    /// A key of a tenant.
    key: String,
    /// Its database, for operators' commands.
    database_url: String,
    /// Where it answers operators.
    admin_url: String,
    /// A key of an operator.
    admin_key: String,
    own: Option<(Deployment, Service)>,
}

impl Running {
    /// Finds the service, or starts one.
    ///
    /// # Panics
    /// When only some of the variables are set.
    pub async fn find_or_start() -> Self {
        if let Some(url) = optional("TEST_DARKROOM_URL") {
            let further = |name: &str| optional(name).unwrap_or_else(|| panic!("{name} is missing"));
            let key = further("TEST_DARKROOM_API_KEY");
            return Self {
                url,
                key,
                database_url: further("TEST_DARKROOM_DATABASE_URL"),
                admin_url: further("TEST_DARKROOM_ADMIN_URL"),
                admin_key: further("TEST_DARKROOM_ADMIN_KEY"),
                own: None,
            };
        }
        let deployment = Deployment::start(&Catalog::demo()).await;
        let key = deployment.key("a").await;
        let (admin_url, admin_key) = deployment.operator().await;
        let worker = deployment.worker().await;
        let (url, database_url) = (deployment.url.clone(), deployment.database.url().to_owned());
        Self { url, key, database_url, admin_url, admin_key, own: Some((deployment, worker)) }
    }

    /// The variables that lead programs to it.
    pub fn variables(&self) -> [(&str, &str); 5] {
        [
            ("DARKROOM_URL", &self.url),
            ("DARKROOM_API_KEY", &self.key),
            ("DATABASE_URL", &self.database_url),
            ("DARKROOM_ADMIN_URL", &self.admin_url),
            ("DARKROOM_ADMIN_KEY", &self.admin_key),
        ]
    }

    /// Ends what was started for the test.
    pub async fn end(self) {
        if let Some((deployment, worker)) = self.own {
            drop(worker);
            deployment.end().await;
        }
    }
}
