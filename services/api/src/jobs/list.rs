//! `GET /v1/jobs`.

use axum::Json;
use axum::extract::{RawQuery, State};
use darkroom_jobs::{
    JobId, MAX_METADATA_ENTRIES, MAX_METADATA_KEY_CHARS, MAX_METADATA_VALUE_CHARS, TenantId, is_metadata,
};
use darkroom_store::JobFilter;
use serde::Serialize;
use utoipa::ToSchema;

use super::Jobs;
use crate::deadline::bounded;
use crate::openapi::words;
use crate::{Error, JobView, ProblemField, Reader, cursor, query};

pub(crate) const DEFAULT_LIMIT: i64 = 20;
const MAX_LIMIT: i64 = 100;
const PARAMETERS: [&str; 6] = ["state", "pipeline", "model", "metadata[KEY]", "limit", "cursor"];

/// One page of jobs, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobPage {
    /// The jobs.
    jobs: Vec<JobView>,
    /// `cursor` of the next page; null on the last one.
    next_cursor: Option<String>,
}

/// List jobs, newest first.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    operation_id = "list_jobs",
    tag = "jobs",
    params(
        ("state" = Option<words::JobState>, Query, description = "Only jobs in this state."),
        ("pipeline" = Option<words::Pipeline>, Query, description = "Only jobs of this pipeline."),
        ("model" = Option<String>, Query, description = "Only jobs of the model with this id."),
        ("metadata" = Option<std::collections::BTreeMap<String, String>>, Query, style = DeepObject, explode,
         description = "Only jobs with these labels: `metadata[KEY]=VALUE` for each."),
        ("limit" = Option<u32>, Query, description = "Jobs per page, 1 to 100.", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ),
    responses(
        (status = 200, description = "A page.", body = JobPage),
        (status = 422, description = "Every parameter that cannot be used."),
    ),
    security(("key" = []))
)]
pub(crate) async fn list(
    State(jobs): State<Jobs>,
    Reader(tenant): Reader,
    RawQuery(query): RawQuery,
) -> Result<Json<JobPage>, Error> {
    let filter = parse(query.as_deref().unwrap_or_default()).map_err(Error::Fields)?;
    Ok(Json(jobs.page(tenant, &filter).await?))
}

impl Jobs {
    /// A page of a tenant's jobs.
    pub(crate) async fn page(&self, tenant: TenantId, filter: &JobFilter) -> Result<JobPage, Error> {
        // One more than the page holds tells whether there is a next one.
        let probe = JobFilter { limit: filter.limit + 1, ..filter.clone() };
        let mut found = bounded(self.store.jobs(tenant, &probe)).await?;
        let page = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        let more = found.len() > page;
        found.truncate(page);
        let next_cursor = found.last().filter(|_| more).map(|job| cursor::encode(job.id.as_uuid()));
        Ok(JobPage { jobs: self.views(found).await, next_cursor })
    }
}

fn parse(query: &str) -> Result<JobFilter, Vec<ProblemField>> {
    let mut filter = JobFilter { limit: DEFAULT_LIMIT, ..JobFilter::default() };
    let errors = query::read(query, |name, value| set(&mut filter, name, value));
    if errors.is_empty() { Ok(filter) } else { Err(errors) }
}

fn set(filter: &mut JobFilter, name: &str, value: &str) -> Result<(), ProblemField> {
    let choice = |error: darkroom_jobs::UnknownWord| {
        ProblemField::parameter(name, "choice", format!("expected one of {}", error.allowed))
    };
    match name {
        "state" => filter.state = Some(value.parse().map_err(choice)?),
        "pipeline" => filter.pipeline = Some(value.parse().map_err(choice)?),
        // Postgres cannot compare with a text that holds U+0000.
        "model" if value.contains('\0') => {
            return Err(ProblemField::parameter(name, "text", "must not contain the character U+0000"));
        }
        "model" => filter.model = Some(value.to_owned()),
        _ => {
            return set_page(filter, name, value).unwrap_or_else(|| match label(name) {
                Some(key) => add_label(filter, name, (key, value)),
                None => Err(query::unknown(name, &PARAMETERS)),
            });
        }
    }
    Ok(())
}

/// Sets what says which page is wanted; `None` for another parameter.
pub(crate) fn set_page(filter: &mut JobFilter, name: &str, value: &str) -> Option<Result<(), ProblemField>> {
    match name {
        "limit" => {
            let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
            let expected = || format!("expected an integer from 1 to {MAX_LIMIT}");
            let limit = limit.ok_or_else(|| ProblemField::parameter(name, "range", expected()));
            Some(limit.map(|limit| filter.limit = limit))
        }
        "cursor" => {
            let cursor = cursor::decode(value).map(JobId::from_uuid);
            let expected = "expected `next_cursor` of an earlier page";
            let cursor = cursor.ok_or_else(|| ProblemField::parameter(name, "cursor", expected));
            Some(cursor.map(|cursor| filter.before = Some(cursor)))
        }
        _ => None,
    }
}

/// `KEY` of `metadata[KEY]`.
fn label(name: &str) -> Option<&str> {
    name.strip_prefix("metadata[")?.strip_suffix(']')
}

fn add_label(filter: &mut JobFilter, name: &str, (key, value): (&str, &str)) -> Result<(), ProblemField> {
    let refused = |detail: String| Err(ProblemField::parameter(name, "metadata", detail));
    if !is_metadata(key, value) {
        return refused(format!(
            "expected a key of 1 to {MAX_METADATA_KEY_CHARS} characters and a value of at most \
             {MAX_METADATA_VALUE_CHARS}, without the character U+0000"
        ));
    }
    if filter.metadata.len() == MAX_METADATA_ENTRIES {
        return refused(format!("expected at most {MAX_METADATA_ENTRIES} labels, as many as a job may have"));
    }
    filter.metadata.insert(key.to_owned(), value.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_reported_at_once() {
        let query = "state=done&pipeline=x&limit=0&limit=5&cursor=zz&colour=red&model=%00&metadata[]=x&metadata=x&metadata[a]=%00";
        let errors = parse(query).unwrap_err();
        let lines: Vec<String> =
            errors.iter().map(|e| format!("{} [{}] {}", e.place(), e.code, e.detail)).collect();
        insta::assert_snapshot!(lines.join("\n"), @"
        state [choice] expected one of queued, running, succeeded, failed, canceled, expired
        pipeline [choice] expected one of text-to-image, image-to-text
        limit [range] expected an integer from 1 to 100
        limit [repeated] give it once
        cursor [cursor] expected `next_cursor` of an earlier page
        colour [unknown] unknown parameter: expected one of state, pipeline, model, metadata[KEY], limit, cursor
        model [text] must not contain the character U+0000
        metadata[] [metadata] expected a key of 1 to 64 characters and a value of at most 512, without the character U+0000
        metadata [unknown] unknown parameter: expected one of state, pipeline, model, metadata[KEY], limit, cursor
        metadata[a] [metadata] expected a key of 1 to 64 characters and a value of at most 512, without the character U+0000
        ");
    }

    #[test]
    fn filters_are_read() {
        let filter = parse("state=queued&pipeline=text-to-image&model=a%2Fb&limit=100").unwrap();
        assert_eq!(filter.state.map(|state| state.as_str()), Some("queued"));
        assert_eq!(filter.model.as_deref(), Some("a/b"));
        assert_eq!(filter.limit, 100);
        assert_eq!(parse("").unwrap().limit, DEFAULT_LIMIT);
    }

    #[test]
    fn labels_are_read_by_their_keys() {
        let filter = parse("metadata[order]=7&metadata%5Ba%5Bb%5D%5D=x%26y&metadata[empty]=").unwrap();
        let labels: Vec<_> = filter.metadata.iter().map(|(key, value)| (&key[..], &value[..])).collect();
        assert_eq!(labels, [("a[b]", "x&y"), ("empty", ""), ("order", "7")]);
        let many: Vec<String> = (0..17).map(|n| format!("metadata[{n}]=x")).collect();
        let errors = parse(&many.join("&")).unwrap_err();
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].detail, "expected at most 16 labels, as many as a job may have");
        assert_eq!(parse("metadata[a]=1&metadata[a]=2").unwrap_err()[0].code, "repeated");
    }
}
