//! Where weights come from, as the catalog writes it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

/// Where weights come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `builtin:fake`: no model at all, for tests. `builtin:fake?step_ms=N` waits that long at every step.
    Fake {
        /// Duration of one step.
        step: Duration,
    },
    /// A folder in a Hugging Face layout, or a file of one component or LoRA; relative paths start at the
    /// worker's models folder. Written plainly, or with `file:` in front.
    Folder(String),
    /// `s3://bucket/prefix`: the objects under a prefix, in the store of inputs and artifacts.
    Bucket {
        /// The bucket.
        bucket: String,
        /// What the keys begin with, without a slash at either end; empty for the whole bucket.
        prefix: String,
    },
    /// `hub:owner/name`, or a folder or file inside: `hub:owner/name/path`.
    Hub(Repository),
    /// None is named: the folder called like the model below the worker's models folder, or if there is none
    /// the hub's repository called like the model.
    Unnamed {
        /// The folder, a relative path.
        folder: String,
        /// The repository.
        repository: Repository,
    },
}

/// A repository of the hub, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Its id, `owner/name`.
    pub id: String,
    /// Branch, tag or commit; the main branch when absent.
    pub revision: Option<String>,
    /// The folder or file meant, without a slash at either end; empty for the whole repository.
    pub path: String,
}

/// Whether a model has a safety checker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SafetyChecker {
    /// Its own, if it has one.
    #[default]
    Own,
    /// Its own, without which it is not served.
    Required,
    /// None, whatever comes with it.
    Off,
    /// This one, instead of its own.
    From(Source),
}

/// A LoRA that a request may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lora {
    /// The name callers use.
    pub id: String,
    /// Where it comes from.
    pub source: Source,
    /// Which file of the source it is; the only one, or the one with the usual name, when absent.
    pub file: Option<String>,
}

/// What a source must look like.
const FORM: &str = "must be `hub:owner/name`, `s3://bucket/prefix`, a folder, `builtin:fake` or \
                    `builtin:fake?step_ms=N`";
const HUB_FORM: &str = "must be `hub:owner/name`, with `/` and a path inside the repository where only a \
                        part of it is meant";
const BUCKET_FORM: &str = "must be `s3://bucket/prefix`";
const REVISION_FORM: &str = "must be a branch, tag or commit: letters, digits and `/._-`";

impl Source {
    /// The source that an entry names, or, if it names none, what its id stands for.
    ///
    /// # Errors
    /// The key at fault, and what is allowed.
    pub(super) fn of_entry(
        source: Option<&str>,
        revision: Option<String>,
        id: &str,
    ) -> Result<Self, (&'static str, &'static str)> {
        let source = match source {
            Some(text) => Self::parse(text).map_err(|problem| ("source", problem))?,
            None => match Repository::parse(id) {
                Some(repository) if repository.path.is_empty() => {
                    Self::Unnamed { folder: id.to_owned(), repository }
                }
                _ => Self::Folder(id.to_owned()),
            },
        };
        source.at_revision(revision).map_err(|problem| ("revision", problem))
    }

    /// The source of a component.
    ///
    /// # Errors
    /// What is allowed.
    pub(super) fn of_component(text: &str, revision: Option<String>) -> Result<Self, &'static str> {
        match Self::parse(text)? {
            Self::Fake { .. } => Err("must be `hub:owner/name`, `s3://bucket/prefix`, a folder or a file"),
            source => source.at_revision(revision),
        }
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        match text.split_once(':') {
            Some(("builtin", "fake")) => Ok(Self::Fake { step: Duration::ZERO }),
            Some(("builtin", options)) => {
                let step =
                    options.strip_prefix("fake?step_ms=").and_then(|ms| ms.parse().ok()).ok_or(FORM)?;
                Ok(Self::Fake { step: Duration::from_millis(step) })
            }
            Some(("file", folder)) if !folder.is_empty() => Ok(Self::Folder(folder.to_owned())),
            Some(("hub", repository)) => Repository::parse(repository).map(Self::Hub).ok_or(HUB_FORM),
            Some(("s3", rest)) => Self::parse_bucket(rest).ok_or(BUCKET_FORM),
            None if !text.is_empty() => Ok(Self::Folder(text.to_owned())),
            _ => Err(FORM),
        }
    }

    fn parse_bucket(text: &str) -> Option<Self> {
        let text = text.strip_prefix("//")?;
        let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        let prefix = prefix.trim_matches('/');
        let sound = (3..=63).contains(&bucket.len()) && bucket.bytes().all(plain);
        let sound = sound && (prefix.is_empty() || is_path(prefix));
        sound.then(|| Self::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }

    fn at_revision(mut self, wanted: Option<String>) -> Result<Self, &'static str> {
        let Some(wanted) = wanted else { return Ok(self) };
        if !wanted.split('/').all(is_name) {
            return Err(REVISION_FORM);
        }
        match &mut self {
            Self::Hub(repository) | Self::Unnamed { repository, .. } => repository.revision = Some(wanted),
            _ => return Err("is for sources of the hub"),
        }
        Ok(self)
    }

    /// Whether it names one file, and no folder.
    pub fn is_file(&self) -> bool {
        let path = match self {
            Self::Folder(path) => path,
            Self::Bucket { prefix, .. } => prefix,
            Self::Hub(repository) => &repository.path,
            Self::Fake { .. } | Self::Unnamed { .. } => return false,
        };
        path.ends_with(".safetensors")
    }
}

impl Repository {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        let (owner, name, path) = (parts.next()?, parts.next()?, parts.next());
        let path = path.unwrap_or_default().trim_matches('/');
        let sound = is_name(owner) && is_name(name) && !owner.contains("--") && !name.contains("--");
        let sound = sound && (path.is_empty() || is_path(path));
        sound.then(|| Self { id: format!("{owner}/{name}"), revision: None, path: path.to_owned() })
    }

    /// Whether its revision is a commit, which never changes.
    pub fn is_pinned(&self) -> bool {
        self.revision.as_deref().is_some_and(is_commit)
    }
}

/// Whether `revision` is a commit's id: 40 hexadecimal digits.
pub fn is_commit(revision: &str) -> bool {
    revision.len() == 40
        && revision.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A name of the hub: ASCII letters, digits, `_`, and `.` and `-` inside.
fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.bytes().all(plain) && text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
}

/// A relative path that leads nowhere but down.
pub(super) fn is_path(text: &str) -> bool {
    text.split('/').all(is_path_segment)
}

/// A part of a path that leads nowhere but down.
fn is_path_segment(text: &str) -> bool {
    !text.is_empty() && text != "." && text != ".." && !text.contains(['\\', '\0'])
}

/// A component's source, as text or with a revision.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a source, or an object with `source` and `revision`")]
pub(super) enum ComponentEntry {
    Source(String),
    Revision(Located),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Located {
    source: String,
    #[serde(default)]
    revision: Option<String>,
}

impl ComponentEntry {
    fn check(self) -> Result<Source, &'static str> {
        match self {
            Self::Source(source) => Source::of_component(&source, None),
            Self::Revision(Located { source, revision }) => Source::of_component(&source, revision),
        }
    }
}

/// The components of an entry by name.
pub(super) fn components(
    entries: BTreeMap<String, ComponentEntry>,
) -> Result<BTreeMap<String, Source>, String> {
    let check = |(name, entry): (String, ComponentEntry)| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(format!("has `{name}`, no name of a component such as `vae` or `unet`"));
        }
        let source = entry.check().map_err(|problem| format!("has `{name}`, which {problem}"))?;
        Ok((name, source))
    };
    entries.into_iter().map(check).collect()
}

/// `true`, `false` or a source.
#[derive(Deserialize)]
#[serde(untagged, expecting = "true, false or a source")]
pub(super) enum SafetyCheckerEntry {
    Wanted(bool),
    From(ComponentEntry),
}

impl SafetyCheckerEntry {
    pub(super) fn check(self) -> Result<SafetyChecker, &'static str> {
        match self {
            Self::Wanted(true) => Ok(SafetyChecker::Required),
            Self::Wanted(false) => Ok(SafetyChecker::Off),
            Self::From(entry) => entry.check().map(SafetyChecker::From),
        }
    }
}
