//! `darkroom admin`: what operators look at and decide.

mod failed;
mod keys;
mod lanes;
mod tenants;
mod workers;

use std::io::{IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use darkroom_client::admin::Admin;
use secrecy::SecretString;
use serde::Serialize;

use crate::failure::Outcome;
use crate::session::{Form, NoKey, print_line};
use crate::show::table;

/// What operators look at and decide, on the operations port of an API.
#[derive(Debug, Args)]
pub(crate) struct Administer {
    /// Where the operations port of an API answers
    #[arg(
        long,
        env = "DARKROOM_ADMIN_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:9090",
        global = true
    )]
    admin_url: String,

    /// Operator's key for it; better left to the variable, since others on this machine can read command lines
    #[arg(long, env = "DARKROOM_ADMIN_KEY", value_name = "KEY", hide_env_values = true, global = true)]
    admin_key: Option<SecretString>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tenants and their limits
    #[command(subcommand)]
    Tenants(tenants::Tenants),
    /// API keys
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Failed jobs: look at them, run them again, put them aside
    #[command(subcommand)]
    Failed(failed::Failed),
    /// Where jobs wait
    #[command(subcommand)]
    Lanes(lanes::Lanes),
    /// Who runs them
    #[command(subcommand)]
    Workers(workers::Workers),
    /// Show whether tickets are published
    Outbox,
}

/// The service, and how to speak of it.
struct Desk {
    admin: Admin,
    form: Form,
}

impl Administer {
    pub(super) async fn run(self, form: Form) -> anyhow::Result<Outcome> {
        let key = self.admin_key.ok_or(NoKey::Operator)?;
        let admin = Admin::new(&self.admin_url, key);
        let admin = admin.context("`--admin-url` or DARKROOM_ADMIN_URL cannot be used")?;
        let desk = Desk { admin, form };
        match self.command {
            Command::Tenants(command) => command.run(&desk).await?,
            Command::Keys(command) => command.run(&desk).await?,
            Command::Failed(command) => command.run(&desk).await?,
            Command::Lanes(command) => command.run(&desk).await?,
            Command::Workers(command) => command.run(&desk).await?,
            Command::Outbox => {
                let outbox = desk.admin.outbox().await?;
                let text = || format!("{} rows, the first is {:.1} s late", outbox.rows, outbox.late_seconds);
                desk.form.print(text, &outbox)?;
            }
        }
        Ok(Outcome::Done)
    }
}

impl Desk {
    /// Prints a table, or a JSON document for each of `things`.
    fn list<T: Serialize>(
        &self,
        head: &[&str],
        things: &[T],
        row: impl Fn(&T) -> Vec<String>,
    ) -> anyhow::Result<()> {
        match self.form {
            Form::Text => print_line(&table(head, things.iter().map(row))),
            Form::Json => things.iter().try_for_each(|thing| self.form.print(String::new, thing)),
        }
    }
}

/// Lines of a name and what there is to say.
fn lines<const N: usize>(lines: [(&str, String); N]) -> String {
    let lines = lines.map(|(name, text)| format!("{name:<14}{text}").trim_end().to_owned());
    lines.join("\n")
}

/// A limit, or that there is none.
fn limit(limit: Option<impl ToString>) -> String {
    limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string())
}

/// Asks for what cannot be undone, unless it was confirmed beforehand. Where nobody can answer, it has to be.
async fn confirm(question: String, confirmed: Confirmed) -> anyhow::Result<bool> {
    if confirmed.yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        bail!("{question}? Nobody can answer here: give --yes");
    }
    let asking = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        write!(std::io::stderr(), "{question}? [y/N] ")?;
        std::io::stdin().read_line(&mut line)?;
        Ok::<_, std::io::Error>(matches!(line.trim(), "y" | "Y" | "yes"))
    });
    Ok(asking.await??)
}

/// Whether the question is answered beforehand.
#[derive(Debug, Clone, Copy, Args)]
struct Confirmed {
    /// Do it without asking
    #[arg(short, long)]
    yes: bool,
}
