//! `GET /v1/webhooks/{id}/deliveries`.

use axum::Json;
use axum::extract::{RawQuery, State};
use darkroom_jobs::DeliveryId;
use darkroom_store::{Delivery, DeliveryFilter};
use serde::Serialize;
use utoipa::ToSchema;

use super::resource::DeliveryView;
use super::{WEBHOOK, WebhookPath, Webhooks};
use crate::deadline::bounded;
use crate::openapi::words;
use crate::{Error, ProblemField, Reader, cursor, query};

const DEFAULT_LIMIT: i64 = 20;
const MAX_LIMIT: i64 = 100;
const PARAMETERS: [&str; 3] = ["state", "limit", "cursor"];

/// One page of deliveries, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryPage {
    /// The deliveries.
    deliveries: Vec<DeliveryView>,
    /// `cursor` of the next page; null on the last one.
    next_cursor: Option<String>,
}

impl DeliveryPage {
    /// What is asked of the store: one more than the page holds, which tells whether there is a next one.
    pub(crate) fn probe(filter: &DeliveryFilter) -> DeliveryFilter {
        DeliveryFilter { limit: filter.limit + 1, ..filter.clone() }
    }

    /// The page, of what [`Self::probe`] found.
    pub(crate) fn new(mut found: Vec<Delivery>, filter: &DeliveryFilter) -> Self {
        let page = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        let more = found.len() > page;
        found.truncate(page);
        let next_cursor = found.last().filter(|_| more).map(|delivery| cursor::encode(delivery.id.as_uuid()));
        Self { deliveries: found.into_iter().map(DeliveryView::from).collect(), next_cursor }
    }
}

/// List what was sent to a webhook, newest first.
///
/// With every attempt. Deliveries are kept for 30 days after their end.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{id}/deliveries",
    operation_id = "list_deliveries",
    tag = "webhooks",
    params(
        ("id" = uuid::Uuid, Path, description = "The webhook's id."),
        ("state" = Option<words::DeliveryState>, Query, description = "Only deliveries in this state: `pending`, `delivered`, `failed`."),
        ("limit" = Option<u32>, Query, description = "Deliveries per page, 1 to 100.", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ),
    responses(
        (status = 200, description = "A page.", body = DeliveryPage),
        (status = 404, description = "No such webhook."),
        (status = 422, description = "Every parameter that cannot be used."),
    ),
    security(("key" = []))
)]
pub(crate) async fn deliveries(
    State(webhooks): State<Webhooks>,
    Reader(tenant): Reader,
    WebhookPath(id): WebhookPath,
    RawQuery(query): RawQuery,
) -> Result<Json<DeliveryPage>, Error> {
    let filter = wanted(query.as_deref())?;
    bounded(webhooks.store.webhook(tenant, id)).await?.ok_or(WEBHOOK)?;
    let found = bounded(webhooks.store.deliveries(tenant, id, &DeliveryPage::probe(&filter))).await?;
    Ok(Json(DeliveryPage::new(found, &filter)))
}

/// Which deliveries a query asks for.
pub(crate) fn wanted(query: Option<&str>) -> Result<DeliveryFilter, Error> {
    let mut filter = DeliveryFilter { limit: DEFAULT_LIMIT, ..DeliveryFilter::default() };
    let errors = query::read(query.unwrap_or_default(), |name, value| set(&mut filter, name, value));
    if errors.is_empty() { Ok(filter) } else { Err(Error::Fields(errors)) }
}

fn set(filter: &mut DeliveryFilter, name: &str, value: &str) -> Result<(), ProblemField> {
    match name {
        "state" => {
            let state = value.parse().map_err(|error: darkroom_jobs::UnknownWord| {
                ProblemField::parameter(name, "choice", format!("expected one of {}", error.allowed))
            })?;
            filter.state = Some(state);
        }
        "limit" => {
            let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
            let expected = || format!("expected an integer from 1 to {MAX_LIMIT}");
            filter.limit = limit.ok_or_else(|| ProblemField::parameter(name, "range", expected()))?;
        }
        "cursor" => {
            let before = cursor::decode(value).map(DeliveryId::from_uuid);
            let expected = "expected `next_cursor` of an earlier page";
            filter.before = Some(before.ok_or_else(|| ProblemField::parameter(name, "cursor", expected))?);
        }
        _ => return Err(query::unknown(name, &PARAMETERS)),
    }
    Ok(())
}
