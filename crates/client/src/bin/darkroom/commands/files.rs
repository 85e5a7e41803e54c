//! `darkroom files`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use darkroom_client::File;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::each;
use crate::failure::{Outcome, report};
use crate::image::{check_files, read_image};
use crate::session::Session;
use crate::show::{table, time};

/// Files sent at once; they are read into memory.
const AT_ONCE: usize = 8;

#[derive(Debug, Subcommand)]
pub(crate) enum Files {
    /// Send pictures and print their ids, for `darkroom caption --file`; the same picture again has the same id
    Add {
        /// Pictures: PNG, JPEG, WebP or GIF; `-` reads one from the input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Show files
    Show {
        /// Ids of files
        #[arg(required = true, value_name = "ID")]
        ids: Vec<Uuid>,
    },
    /// Delete files; jobs keep their pictures
    Delete {
        /// Ids of files
        #[arg(required = true, value_name = "ID")]
        ids: Vec<Uuid>,
    },
}

/// A file and what it was called.
#[derive(Serialize)]
struct Sent<'a> {
    path: &'a Path,
    #[serde(flatten)]
    file: File,
}

impl Files {
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        match self {
            Self::Add { files } => add(session, &files).await,
            Self::Show { ids } => {
                let show = async |_, id| {
                    let file = session.client.file(id).await?;
                    session.print(|| text(&file), &file)
                };
                Ok(each("file", &ids, show).await)
            }
            Self::Delete { ids } => {
                let delete = async |_, id| {
                    session.client.delete_file(id).await?;
                    session.print(|| format!("file {id} is deleted"), &json!({"id": id, "deleted": true}))
                };
                Ok(each("file", &ids, delete).await)
            }
        }
    }
}

async fn add(session: &Session, files: &[PathBuf]) -> anyhow::Result<Outcome> {
    check_files(files.iter().map(PathBuf::as_path))?;
    let sending = files.iter().map(|path| async move {
        let (bytes, _) = read_image(path).await?;
        let file = session.client.upload(bytes).await.with_context(|| path.display().to_string())?;
        anyhow::Ok(Sent { path, file })
    });
    let mut sent = stream::iter(sending).buffered(AT_ONCE);
    let mut outcome = Outcome::Done;
    while let Some(sent) = sent.next().await {
        match sent {
            Ok(sent) => session.print(|| sent.file.id.to_string(), &sent)?,
            Err(error) => outcome = outcome.then(report(&error)),
        }
    }
    Ok(outcome)
}

fn text(file: &File) -> String {
    let row = vec![
        file.id.to_string(),
        file.content_type.clone(),
        format!("{} × {}", file.width, file.height),
        file.size_bytes.to_string(),
        time(file.created_at),
        time(file.expires_at),
    ];
    table(&["FILE", "TYPE", "PIXELS", "BYTES", "CREATED (UTC)", "KEPT UNTIL"], [row])
}
