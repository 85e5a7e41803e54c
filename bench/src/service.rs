//! The API as a process on a database of a benchmark's own.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use darkroom_e2e::Service;
use serde_json::json;
use tempfile::TempDir;

use crate::database::Database;
use crate::variable;

/// A running API.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) service: Service,
    pub(crate) address: SocketAddr,
    _folder: TempDir,
}

/// Models of the catalog. No worker runs them.
pub(crate) const MODELS: [&str; 2] = ["bench-a", "bench-b"];

impl Api {
    /// Starts it, with so many connections to the database.
    pub(crate) async fn start(database: &Database, connections: u32) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let catalog = folder.path().join("catalog.json");
        let model = |name: &str| {
            json!({
                "pipeline": "text-to-image", "model_id": name, "source": "builtin:fake", "price_per_unit": 1e-8,
                "defaults": {"width": 512, "height": 512, "steps": 25, "guidance_scale": 7.5},
            })
        };
        std::fs::write(&catalog, json!(MODELS.map(model)).to_string())?;
        let mut settings = vec![
            ("DATABASE_URL", database.url.clone()),
            ("DARKROOM_DB_CONNECTIONS", connections.to_string()),
            ("DARKROOM_CATALOG", catalog.display().to_string()),
            ("DARKROOM_LISTEN", "127.0.0.1:0".to_owned()),
            ("DARKROOM_URL_SECRET", "5e".repeat(32)),
            ("DARKROOM_MAX_QUEUED_JOBS", "10000000".to_owned()),
            ("DARKROOM_MAX_QUEUED_PIXELS", u64::MAX.to_string()),
        ];
        for name in ["S3_ENDPOINT", "S3_REGION", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"] {
            settings.push((name, variable(&format!("TEST_{name}"))?));
        }
        let settings: Vec<_> = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let mut service = Service::spawn("darkroom-api", &["serve"], &settings, folder.path());
        let address = service.logged("serving", "address").await;
        let address = address.parse().with_context(|| format!("the API answers at {address}"))?;
        Ok(Self { service, address, _folder: folder })
    }

    /// A number that it tells of itself.
    pub(crate) async fn gauge(&self, name: &str) -> f64 {
        let metrics = self.service.metrics().await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim().parse().ok()).unwrap_or_default()
    }
}
