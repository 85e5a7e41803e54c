//! Pictures to be described.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use uuid::Uuid;

use crate::wanted::{is_stdin, read_stdin};

/// Where a picture to be described comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Image {
    /// A file of this machine, or the input.
    Path(PathBuf),
    /// A URL, from which the service fetches it.
    Url(String),
    /// A file that the service has.
    Sent(Uuid),
}

impl Image {
    /// What was given where a file or a URL can be.
    pub(crate) fn given(given: PathBuf) -> Self {
        let url = given.to_str().filter(|text| text.starts_with("http://") || text.starts_with("https://"));
        match url.map(str::to_owned) {
            Some(url) => Self::Url(url),
            None => Self::Path(given),
        }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Url(url) => url.fmt(f),
            Self::Sent(id) => id.fmt(f),
        }
    }
}

/// Finds out about files that cannot be read before any is submitted.
pub(crate) fn check_images(images: &[Image]) -> anyhow::Result<()> {
    let paths = images.iter().filter_map(|image| match image {
        Image::Path(path) => Some(path.as_path()),
        Image::Url(_) | Image::Sent(_) => None,
    });
    check_files(paths)
}

/// The same for files alone.
pub(crate) fn check_files<'a>(files: impl Iterator<Item = &'a Path>) -> anyhow::Result<()> {
    let (inputs, files): (Vec<&Path>, Vec<&Path>) = files.partition(|file| is_stdin(file));
    ensure!(inputs.len() <= 1, "`-` can be given once");
    files.into_iter().try_for_each(check_file)
}

/// Finds out whether a file can be read.
pub(crate) fn check_file(file: &Path) -> anyhow::Result<()> {
    let opened = std::fs::File::open(file).and_then(|opened| opened.metadata());
    let metadata = opened.with_context(|| format!("failed to read {}", file.display()))?;
    ensure!(!metadata.is_dir(), "{} is a folder, not a picture", file.display());
    Ok(())
}

/// The file, or stdin in place of `-`, and the name to give it.
pub(crate) async fn read_image(file: &Path) -> anyhow::Result<(Bytes, String)> {
    if is_stdin(file) {
        return Ok((read_stdin().await?.into(), "stdin".to_owned()));
    }
    let bytes = tokio::fs::read(file).await.with_context(|| format!("failed to read {}", file.display()))?;
    let name = file.file_name().map_or_else(|| "image".into(), |name| name.to_string_lossy());
    Ok((bytes.into(), name.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_no_files() {
        let url = "https://shop.example/circle.png";
        assert_eq!(Image::given(url.into()), Image::Url(url.to_owned()));
        assert_eq!(Image::given("http".into()), Image::Path("http".into()));
    }
}
