//! The APIs of other systems, translated at the edge into the same jobs.
//!
//! A surface is one folder. Its routes turn what its clients send into the document that `POST /v1/jobs` takes, and a
//! job into what they expect; it keeps nothing of its own. Another one is another folder and a line in [`SURFACES`].

mod answering;
mod call;
mod fal;
mod livepeer;
mod openai;
mod replicate;

use axum::Router;
use axum::http::StatusCode;
use darkroom_jobs::{Catalog, Model, Pipeline};
use darkroom_surfaces::OWNER;
use serde_json::Value;

use crate::{Api, Problem};

const SURFACES: [Surface; 4] = [livepeer::SURFACE, openai::SURFACE, replicate::SURFACE, fal::SURFACE];

/// One of them.
pub(crate) struct Surface {
    /// The paths it answers to, and everything below them.
    prefixes: &'static [&'static str],
    routes: fn() -> Router<Api>,
    /// What its clients are told in place of a problem document.
    refusal: fn(&Problem) -> SurfaceRefusal,
}

/// A refusal in a surface's own form.
pub(crate) struct SurfaceRefusal {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

/// The routes of all of them.
pub(crate) fn routes() -> Router<Api> {
    SURFACES.iter().fold(Router::new(), |router, surface| router.merge((surface.routes)()))
}

/// The refusal of a request for `path` in the form of the surface that the path belongs to.
pub(crate) fn refusal(path: &str, problem: &Problem) -> Option<SurfaceRefusal> {
    let below = |prefix: &&str| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let surface = SURFACES.iter().find(|surface| surface.prefixes.iter().any(below))?;
    Some((surface.refusal)(problem))
}

/// The model of either pipeline that goes by this id or alias, or has it behind [`OWNER`].
fn model_named<'c>(catalog: &'c Catalog, name: &str) -> Option<&'c Model> {
    let bare = name.split_once('/').filter(|(owner, _)| *owner == OWNER).map(|(_, bare)| bare);
    let names = [Some(name), bare].into_iter().flatten();
    let mut named = names.flat_map(|name| {
        [Pipeline::TextToImage, Pipeline::ImageToText]
            .into_iter()
            .filter_map(move |it| catalog.named(it, name))
    });
    named.next()
}

impl Problem {
    /// The status as it would be answered.
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What is wrong, with each field under the name that a surface's clients know it by: `names` has pairs of native
    /// name and theirs, in the native `input`.
    fn detail_in(&self, names: &[(&str, &str)]) -> String {
        let fields =
            self.errors.iter().map(|field| format!("{}: {}", renamed(field.place(), names), field.detail));
        let fields: Vec<String> = fields.collect();
        if fields.is_empty() { self.detail.clone() } else { fields.join("; ") }
    }
}

/// A native field's place as `names` has it, without the pointer's slashes.
fn renamed(place: &str, names: &[(&str, &str)]) -> String {
    let name = place.trim_start_matches('/');
    let name = name.strip_prefix("input/").unwrap_or(name);
    let (first, rest) = name.split_once('/').map_or((name, None), |(first, rest)| (first, Some(rest)));
    let theirs = names.iter().find(|(native, _)| *native == first).map_or(first, |(_, theirs)| theirs);
    match rest {
        Some(rest) => format!("{theirs}.{}", rest.replace('/', ".").replace("~1", "/").replace("~0", "~")),
        None => theirs.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_go_by_the_names_their_callers_know() {
        let names = [("steps", "num_inference_steps"), ("model", "model_id")];
        assert_eq!(renamed("/input/steps", &names), "num_inference_steps");
        assert_eq!(renamed("/model", &names), "model_id");
        assert_eq!(renamed("/input/loras/a~1b", &names), "loras.a/b");
        assert_eq!(renamed("/input/width", &names), "width");
    }
}
