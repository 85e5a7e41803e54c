//! The documents of a batch, one a line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::image::check_file;
use crate::wanted::{is_stdin, read_stdin};

/// Mistakes that are told at once; a file of another kind has one in every line.
const TOLD: usize = 20;

/// The documents, by their lines' numbers.
#[derive(Debug)]
pub(crate) struct Input {
    /// SHA-256 of the file in hexadecimal.
    pub(super) sha256: String,
    /// From 1; empty lines count, and are left out.
    pub(super) lines: BTreeMap<usize, Line>,
}

/// A document.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    /// As `POST /v1/jobs` takes it, but for its picture.
    document: Value,
    /// The picture's file.
    pub(super) picture: Option<PathBuf>,
}

impl Input {
    /// Reads a file, or the input in place of `-`. Paths of pictures are relative to its folder.
    ///
    /// # Errors
    /// When it cannot be read, or with the number of every line that is no document or whose picture cannot be read.
    pub(crate) async fn read(file: &Path) -> anyhow::Result<Self> {
        if is_stdin(file) {
            return Self::parse(&read_stdin().await?, Path::new(""));
        }
        let bytes =
            tokio::fs::read(file).await.with_context(|| format!("failed to read {}", file.display()))?;
        let parsed = Self::parse(&bytes, file.parent().unwrap_or(Path::new("")));
        parsed.with_context(|| file.display().to_string())
    }

    pub(super) fn parse(bytes: &[u8], folder: &Path) -> anyhow::Result<Self> {
        let (mut lines, mut mistakes) = (BTreeMap::new(), Vec::new());
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            if line.trim_ascii().is_empty() {
                continue;
            }
            match Line::parse(line, folder) {
                Ok(line) => drop(lines.insert(number, line)),
                Err(error) => mistakes.push(format!("line {number}: {error:#}")),
            }
        }
        if mistakes.len() > TOLD {
            let more = mistakes.len() - TOLD;
            mistakes.truncate(TOLD);
            mistakes.push(format!("and {more} more lines"));
        }
        if !mistakes.is_empty() {
            bail!("nothing was submitted:\n{}", mistakes.join("\n"));
        }
        ensure!(!lines.is_empty(), "there is no document in the input");
        Ok(Self { sha256: hex::encode(Sha256::digest(bytes)), lines })
    }
}

impl Line {
    fn parse(line: &[u8], folder: &Path) -> anyhow::Result<Self> {
        let mut document: Value = serde_json::from_slice(line).context("not a JSON document")?;
        ensure!(document.is_object(), "expected a JSON object, as `POST /v1/jobs` takes it");
        let input = document.get_mut("input").and_then(Value::as_object_mut);
        let Some((input, path)) = input.and_then(|input| input.remove("image").map(|path| (input, path)))
        else {
            return Ok(Self { document, picture: None });
        };
        let Some(path) = path.as_str() else {
            bail!("`input.image` is the path of a picture: expected a text")
        };
        for other in ["image_file", "image_url"] {
            let there = input.get(other).is_some_and(|other| !other.is_null());
            ensure!(!there, "`input.image` and `input.{other}` name two pictures: expected one of them");
        }
        let picture = folder.join(path);
        check_file(&picture)?;
        Ok(Self { document, picture: Some(picture) })
    }

    /// Whether the service has to fetch a picture for it.
    pub(super) fn has_url(&self) -> bool {
        self.document["input"]["image_url"].is_string()
    }

    /// The document, with the file that its picture was sent as.
    pub(super) fn document(&self, file: Option<Uuid>) -> Value {
        let mut document = self.document.clone();
        if let Some(file) = file {
            document["input"]["image_file"] = file.to_string().into();
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_documents_and_keep_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.png"), b"").unwrap();
        let text = "{\"pipeline\": \"text-to-image\"}\n\n{\"pipeline\":\"image-to-text\",\"input\":{\"image\":\"a.png\"}}";
        let input = Input::parse(text.as_bytes(), folder.path()).unwrap();
        assert_eq!(input.lines.keys().copied().collect::<Vec<_>>(), [1, 3]);
        assert_eq!(input.lines[&1].document(None), json!({"pipeline": "text-to-image"}));
        assert_eq!(input.lines[&3].picture, Some(folder.path().join("a.png")));
        let id = Uuid::nil();
        assert_eq!(
            input.lines[&3].document(Some(id)),
            json!({"pipeline": "image-to-text", "input": {"image_file": id}})
        );
    }

    #[test]
    fn every_line_with_a_mistake_is_named() {
        let text = r#"{"pipeline": "text-to-image"}
            {"pipeline":
            []
            "a"
            {"input": {"image": "missing.png"}}
            {"input": {"image": 7}}
            {"input": {"image": "a.png", "image_url": "https://shop.example"}}"#;
        let refused = Input::parse(text.as_bytes(), Path::new("")).unwrap_err().to_string();
        insta::assert_snapshot!(refused, @"
        nothing was submitted:
        line 2: not a JSON document: EOF while parsing a value at line 1 column 24
        line 3: expected a JSON object, as `POST /v1/jobs` takes it
        line 4: expected a JSON object, as `POST /v1/jobs` takes it
        line 5: failed to read missing.png: No such file or directory (os error 2)
        line 6: `input.image` is the path of a picture: expected a text
        line 7: `input.image` and `input.image_url` name two pictures: expected one of them
        ");
        let refused = Input::parse(&b"[]\n".repeat(30), Path::new("")).unwrap_err().to_string();
        assert!(
            refused
                .ends_with("line 20: expected a JSON object, as `POST /v1/jobs` takes it\nand 10 more lines")
        );
        assert!(Input::parse(b" \n\n", Path::new("")).is_err());
    }
}
