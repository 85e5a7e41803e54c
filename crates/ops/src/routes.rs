//! Routes of a service's own on its operations port.

use std::sync::{Arc, OnceLock};

use axum::{Router, extract::Request, response::Response};
use tower::ServiceExt as _;

/// What a service answers operators beyond health and metrics. Clones share it.
///
/// The port answers before the service has connected to anything, so routes come later: until then their paths are
/// not found.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    added: Arc<OnceLock<Router>>,
}

impl Routes {
    /// Adds the service's routes, all at once. They answer every path that is not the port's own, so they should
    /// refuse what they do not know in their own way. A second call changes nothing.
    pub fn add(&self, routes: Router) {
        let _ = self.added.set(routes);
    }

    /// The answer of the service's routes, `None` while there are none.
    pub(crate) async fn answer(&self, request: Request) -> Option<Response> {
        let routes = self.added.get()?.clone();
        Some(match routes.oneshot(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        })
    }
}
