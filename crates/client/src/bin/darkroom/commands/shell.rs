//! `darkroom completions` and `darkroom man`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Arguments;
use crate::failure::Outcome;
use crate::session::print_bytes;

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write a page for the program and one for each command to this folder
    folder: Option<PathBuf>,
}

impl Completions {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "darkroom", &mut script);
        print_bytes(&script)?;
        Ok(Outcome::Done)
    }
}

impl Man {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let command = Arguments::command();
        if let Some(folder) = self.folder {
            let failed = || format!("failed to write to {}", folder.display());
            std::fs::create_dir_all(&folder).with_context(failed)?;
            clap_mangen::generate_to(command, &folder).with_context(failed)?;
        } else {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page).context("failed to write the page")?;
            print_bytes(&page)?;
        }
        Ok(Outcome::Done)
    }
}
