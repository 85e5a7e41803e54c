//! `darkroom batch`.

use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;

use crate::batch::{Input, OWN_FILES, Run, try_out};
use crate::failure::Outcome;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Batch {
    /// Documents as `POST /v1/jobs` takes them, one a line, with `input.image` as the path of a picture to be
    /// described; `-` reads them from the input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Folder for the pictures, `results.jsonl` and the journal; what FILE is called without its extension unless
    /// given
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,

    /// Submit nothing: have every line checked, and print what the batch would cost
    #[arg(long)]
    dry_run: bool,
}

impl Batch {
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let folder = self.output.unwrap_or_else(|| self.file.with_extension(""));
        ensure!(self.dry_run || folder != self.file, "name a folder for the results with `-o`");
        let is_input = |path: PathBuf| {
            let paths = path.canonicalize().ok().zip(self.file.canonicalize().ok());
            paths.is_some_and(|(path, input)| path == input)
        };
        ensure!(
            !OWN_FILES.iter().any(|name| is_input(folder.join(name))),
            "{} would be written to: name another folder with `-o`",
            self.file.display()
        );
        let input = Input::read(&self.file).await?;
        if self.dry_run {
            return try_out(session, &input).await;
        }
        Run::new(session, input, folder)?.run().await
    }
}
