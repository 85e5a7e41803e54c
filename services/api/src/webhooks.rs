//! Webhooks: endpoints that are told when jobs end, and what was sent to them.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod deliveries;
mod document;
pub(crate) mod list;
pub(crate) mod resend;
pub(crate) mod resource;
pub(crate) mod rotate;
pub(crate) mod secret;
pub(crate) mod show;
pub(crate) mod test;
pub(crate) mod update;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use darkroom_jobs::{DeliveryId, WebhookId};
use darkroom_outbound::Guard;
use darkroom_store::{Sending, Store};
use resource::DeliveryView;

use crate::{Error, Mint};

/// The webhooks in the store.
#[derive(Debug, Clone)]
pub(crate) struct Webhooks {
    pub(crate) store: Store,
    /// What endpoints may be.
    pub(crate) guard: Guard,
    pub(crate) mint: Mint,
}

/// A webhook's id out of the path. What is no id is the id of nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WebhookPath(pub(crate) WebhookId);

/// The ids of a webhook and of a delivery.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeliveryPath(pub(crate) WebhookId, pub(crate) DeliveryId);

const WEBHOOK: Error = Error::NotFound("webhook");
const DELIVERY: Error = Error::NotFound("delivery");

impl<S: Send + Sync> FromRequestParts<S> for WebhookPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.ok().and_then(|Path(id)| id.parse().ok()).map(Self).ok_or(WEBHOOK)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for DeliveryPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let ids = path
            .ok()
            .and_then(|Path((webhook, delivery))| Some(Self(webhook.parse().ok()?, delivery.parse().ok()?)));
        ids.ok_or(DELIVERY)
    }
}

/// The pending delivery, or why there is none.
fn pending(sending: Sending, missing: Error) -> Result<DeliveryView, Error> {
    match sending {
        Sending::Pending(delivery) => Ok((*delivery).into()),
        Sending::Disabled => Err(Error::WebhookDisabled),
        Sending::NotFound => Err(missing),
    }
}
