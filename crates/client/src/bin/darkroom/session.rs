//! What every command is given: the service to talk to, and how to say things.

use std::io::{IsTerminal as _, Write as _};

use anyhow::Context as _;
use clap::Args;
use darkroom_client::Client;
use secrecy::SecretString;
use serde::Serialize;

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Service and output")]
pub(crate) struct Options {
    /// Where the service answers
    #[arg(
        long,
        env = "DARKROOM_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080",
        global = true
    )]
    url: String,

    /// Key for it; better left to the variable, since others on this machine can read command lines
    #[arg(long, env = "DARKROOM_API_KEY", value_name = "KEY", hide_env_values = true, global = true)]
    api_key: Option<SecretString>,

    /// Print JSON documents, one a line
    #[arg(long, global = true)]
    json: bool,

    /// Show no progress
    #[arg(short, long, global = true)]
    quiet: bool,
}

/// The form of what goes to stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// A JSON document a line.
    Json,
}

/// The caller gave no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoKey {
    /// None of a tenant.
    #[error(
        "no API key: set DARKROOM_API_KEY\noperators make a key with `darkroom-api api-keys create`; for the local \
         stack, `eval \"$(cargo xtask env)\"` sets it"
    )]
    Tenant,
    /// None of an operator.
    #[error("no operator's key: set DARKROOM_ADMIN_KEY\n`darkroom-api api-keys create --operator` makes one")]
    Operator,
}

/// A service, and how to speak of it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) form: Form,
    /// Whether somebody watches a terminal and wants to see progress.
    pub(crate) lively: bool,
}

impl Options {
    /// The form of what is printed.
    pub(crate) fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Text }
    }
}

impl Form {
    /// Prints a line of text, or the JSON document in its place.
    pub(crate) fn print(self, text: impl FnOnce() -> String, json: &impl Serialize) -> anyhow::Result<()> {
        let line = match self {
            Self::Text => text(),
            Self::Json => serde_json::to_string(json).context("failed to write JSON")?,
        };
        print_line(&line)
    }
}

impl Session {
    /// The session these options describe.
    pub(crate) fn new(options: Options) -> anyhow::Result<Self> {
        let key = options.api_key.as_ref().ok_or(NoKey::Tenant)?.clone();
        Ok(Self {
            client: Client::new(&options.url, key).context("`--url` or DARKROOM_URL cannot be used")?,
            form: options.form(),
            lively: !options.quiet && std::io::stderr().is_terminal(),
        })
    }

    /// Prints a line of text, or the JSON document in its place.
    pub(crate) fn print(&self, text: impl FnOnce() -> String, json: &impl Serialize) -> anyhow::Result<()> {
        self.form.print(text, json)
    }
}

/// Prints a line on stdout.
pub(crate) fn print_line(line: &str) -> anyhow::Result<()> {
    print_bytes(format!("{line}\n").as_bytes())
}

/// Writes bytes to stdout.
pub(crate) fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).context("failed to write to the output")
}
