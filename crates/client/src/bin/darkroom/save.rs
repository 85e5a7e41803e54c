//! Saving results to files.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail, ensure};
use darkroom_client::{Artifact, Client, Job};

use crate::session::print_bytes;
use crate::show::subject;
use crate::wanted::is_stdin;

/// Characters of a prompt that become a file's name.
const SLUG_CHARS: usize = 48;

/// Where results go.
#[derive(Debug)]
pub(crate) struct Saver {
    target: Target,
    /// Names given so far, so that no result of a call replaces another.
    taken: Mutex<BTreeSet<PathBuf>>,
    jobs: usize,
}

#[derive(Debug)]
enum Target {
    /// A folder, under names made of prompt and seed.
    Folder(PathBuf),
    /// This file; with a number for each of several.
    File(PathBuf),
    Stdout,
}

impl Saver {
    /// Prepares to save the results of so many jobs, of which each has at most so many, as `output` says: a file,
    /// an existing folder or one that ends in `/`, or `-`. Without it they go to the current folder.
    ///
    /// # Errors
    /// When nothing could be written there, so that it is known before any work is done.
    pub(crate) fn new(output: Option<&Path>, jobs: usize, results: u32) -> anyhow::Result<Self> {
        let target = match output {
            None => Target::Folder(PathBuf::from(".")),
            Some(path) if is_stdin(path) => {
                ensure!(
                    jobs == 1 && results == 1,
                    "`-o -` takes one result: name a file or a folder for several"
                );
                Target::Stdout
            }
            Some(path) if path.is_dir() || ends_in_slash(path) => {
                std::fs::create_dir_all(path)
                    .with_context(|| format!("failed to create {}", path.display()))?;
                Target::Folder(path.to_path_buf())
            }
            Some(path) => Target::File(path.to_path_buf()),
        };
        match &target {
            Target::Folder(folder) => probe(folder)?,
            Target::File(path) => probe(path.parent().unwrap_or(Path::new("")))?,
            Target::Stdout => {}
        }
        Ok(Self { target, taken: Mutex::default(), jobs })
    }

    /// The format to ask for: the one that was `chosen`, else the one that the file is called after.
    ///
    /// # Errors
    /// When the file's name promises another format, or one that pictures are not made in.
    pub(crate) fn format(&self, chosen: Option<String>) -> anyhow::Result<Option<String>> {
        let Target::File(path) = &self.target else { return Ok(chosen) };
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        let named = match extension.as_deref() {
            Some(format @ ("png" | "webp")) => format,
            Some("jpg" | "jpeg") => "jpeg",
            Some(other @ ("gif" | "avif" | "bmp" | "tif" | "tiff")) => {
                bail!("{}: pictures are PNG, JPEG or WebP files, not {other}", path.display())
            }
            _ => return Ok(chosen),
        };
        match chosen {
            Some(chosen) if chosen != named => {
                bail!("{}: the name is that of a {named} file, and {chosen} is asked for", path.display())
            }
            _ => Ok(Some(named.to_owned())),
        }
    }

    /// Fetches every result of the call's job number `number`, from 0, and returns where each one is.
    pub(crate) async fn save(
        &self,
        client: &Client,
        number: usize,
        job: &Job,
    ) -> anyhow::Result<Vec<PathBuf>> {
        if matches!(self.target, Target::Stdout) && job.artifacts.len() > 1 {
            bail!("job {} has {} results: name a file or a folder for them", job.id, job.artifacts.len());
        }
        let mut paths = Vec::new();
        for artifact in &job.artifacts {
            let fetched = client.fetch_artifact(artifact).await;
            let bytes = fetched
                .with_context(|| format!("failed to fetch result {} of job {}", artifact.index, job.id))?;
            let hint = || format!("the results are kept, `darkroom job {} -o FILE` fetches them", job.id);
            paths.extend(self.write(&self.name(number, job, artifact), &bytes).with_context(hint)?);
        }
        Ok(paths)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> anyhow::Result<Option<PathBuf>> {
        if matches!(self.target, Target::Stdout) {
            return print_bytes(bytes).map(|()| None);
        }
        if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            // A pipe or a device is written to, and not replaced.
            let written = std::fs::write(path, bytes);
            written.with_context(|| format!("failed to write to {}", path.display()))?;
            return Ok(Some(path.to_path_buf()));
        }
        replace(path, bytes)?;
        Ok(Some(path.to_path_buf()))
    }

    /// A path no other result of this call has.
    fn name(&self, number: usize, job: &Job, artifact: &Artifact) -> PathBuf {
        let wish = match &self.target {
            Target::Stdout => return PathBuf::new(),
            Target::Folder(folder) => folder.join(default_name(job, artifact)),
            Target::File(path) => {
                let several = job.input["images"].as_u64().is_some_and(|images| images > 1);
                let job = (self.jobs > 1).then(|| number + 1);
                numbered(path, job.into_iter().chain(several.then_some(artifact.index as usize + 1)))
            }
        };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut path = wish.clone();
        let mut count = 1;
        while !taken.insert(path.clone()) {
            count += 1;
            path = numbered(&wish, [count]);
        }
        path
    }
}

/// Writes a file into a folder where others will go, and deletes it again.
pub(crate) fn probe(folder: &Path) -> anyhow::Result<()> {
    let folder = if folder == Path::new("") { Path::new(".") } else { folder };
    let probe = folder.join(format!(".darkroom-{}.part", std::process::id()));
    let written = std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe));
    written.with_context(|| format!("failed to write to {}", folder.display()))
}

/// Writes a file at once: whoever reads it sees what was there before, or all of it, and so after a loss of power.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    replace_by(path, |partial| write_through(partial, bytes))
}

/// The same for what need not outlive a loss of power.
pub(crate) fn replace_soon(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    replace_by(path, |partial| std::fs::write(partial, bytes))
}

fn replace_by(path: &Path, write: impl FnOnce(&Path) -> std::io::Result<()>) -> anyhow::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".part");
    let partial = PathBuf::from(partial);
    let written = write(&partial).and_then(|()| std::fs::rename(&partial, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    written.with_context(|| format!("failed to write {}", path.display()))
}

/// Writes a file, onto the disk.
fn write_through(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

pub(crate) fn ends_in_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

/// Prompt and seed, as a file's name.
pub(crate) fn default_name(job: &Job, artifact: &Artifact) -> String {
    let kind = artifact.content_type.split(';').next().unwrap_or_default();
    let extension = match kind {
        "text/plain" => "txt",
        "image/jpeg" => "jpg",
        kind => kind.strip_prefix("image/").unwrap_or("bin"),
    };
    let slug = slug(&subject(job));
    match artifact.seed {
        Some(seed) => format!("{slug}-{seed}.{extension}"),
        None => format!("{slug}.{extension}"),
    }
}

/// Letters and digits of any script, and a hyphen for whatever stands between them.
fn slug(text: &str) -> String {
    let words = text.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty());
    let slug = words.collect::<Vec<_>>().join("-").to_lowercase();
    let slug: String = slug.chars().take(SLUG_CHARS).collect();
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "picture".to_owned() } else { slug.to_owned() }
}

/// `out.png` as `out-1-2.png`.
pub(crate) fn numbered(path: &Path, numbers: impl IntoIterator<Item = usize>) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    for number in numbers {
        name.push(format!("-{number}"));
    }
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_before_the_extension() {
        assert_eq!(numbered(Path::new("a/out.png"), [1, 2]), Path::new("a/out-1-2.png"));
        assert_eq!(numbered(Path::new("out"), [3]), Path::new("out-3"));
        assert_eq!(numbered(Path::new("out.png"), []), Path::new("out.png"));
    }

    #[test]
    fn names_are_made_of_words() {
        assert_eq!(slug("A large, red circle/../on \"blue\""), "a-large-red-circle-on-blue");
        assert_eq!(slug("¡…!"), "picture");
        assert_eq!(slug(&"red ".repeat(30)).len(), SLUG_CHARS - 1, "no hyphen is left at the end");
    }

    #[test]
    fn what_cannot_be_written_is_known_before_any_work() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing/out.png");
        let refused = Saver::new(Some(&missing), 1, 1).unwrap_err();
        assert!(format!("{refused:#}").contains("missing"), "{refused:#}");
        assert!(Saver::new(Some(Path::new("-")), 2, 1).is_err());
        let new = folder.path().join("new/");
        Saver::new(Some(&new), 3, 4).unwrap();
        assert!(new.is_dir());
    }

    #[test]
    fn files_are_in_the_format_they_are_called_after() {
        let folder = tempfile::tempdir().unwrap();
        let format = |name: &str, chosen: Option<&str>| {
            let saver = Saver::new(Some(&folder.path().join(name)), 1, 1).unwrap();
            saver.format(chosen.map(str::to_owned)).map_err(|error| error.to_string())
        };
        let ok = |format: &str| Ok(Some(format.to_owned()));
        assert_eq!(format("out.JPG", None), ok("jpeg"));
        assert_eq!(format("out.jpeg", Some("jpeg")), ok("jpeg"));
        assert_eq!(format("out.png", None), ok("png"));
        assert_eq!(format("out.webp", None), ok("webp"));
        assert_eq!(format("out", None), Ok(None));
        assert_eq!(format("out.v2", Some("webp")), ok("webp"));
        assert_eq!(format("album/", Some("webp")), ok("webp"));
        assert!(format("out.png", Some("jpeg")).unwrap_err().contains("jpeg is asked for"));
        assert!(format("out.gif", None).unwrap_err().contains("PNG, JPEG or WebP"));
    }
}
