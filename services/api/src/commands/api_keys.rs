//! `api-keys`.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use darkroom_store::{ListedKey, NewApiKey, Scope, StoreConfig};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::say;
use super::tenants::{connect, parse_name};
use crate::Mint;

/// What every key begins with, so that tools that look for leaked secrets can find it.
const KEY_START: &str = "dk_";
/// Characters of a key that are kept in clear, to tell keys apart in lists.
const PREFIX_CHARS: usize = 11;

#[derive(Debug, Subcommand)]
pub(super) enum ApiKeys {
    /// Make a key and print it. It is shown this once.
    Create(Create),
    /// Print every key: id, visible start, tenant, scopes, state, name.
    List {
        #[command(flatten)]
        store: StoreConfig,
    },
    /// Make a key stop working, within seconds.
    Revoke {
        /// The key's id, as listed.
        id: Uuid,

        #[command(flatten)]
        store: StoreConfig,
    },
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Name of the tenant it belongs to.
    #[arg(long, required_unless_present = "operator")]
    tenant: Option<String>,

    /// Make a key of an operator, which belongs to no tenant.
    #[arg(long, conflicts_with = "tenant")]
    operator: bool,

    /// What it is for, 1 to 100 characters.
    #[arg(long, value_parser = parse_name)]
    name: String,

    /// What it may do: submit, read.
    #[arg(long, value_delimiter = ',', default_value = "submit,read", value_parser = parse_scope)]
    scopes: Vec<Scope>,

    #[command(flatten)]
    store: StoreConfig,
}

fn parse_scope(text: &str) -> Result<Scope, String> {
    text.parse().map_err(|error: darkroom_jobs::UnknownWord| format!("expected one of {}", error.allowed))
}

impl ApiKeys {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run().await,
            Self::List { store } => {
                connect(&store).await?.api_keys().await?.iter().map(line).try_for_each(say)
            }
            Self::Revoke { id, store } => Ok(connect(&store).await?.revoke_api_key(id).await?),
        }
    }
}

impl Create {
    async fn run(self) -> anyhow::Result<()> {
        let store = connect(&self.store).await?;
        let tenant = match &self.tenant {
            Some(name) => Some(store.tenant_named(name).await?),
            None => None,
        };
        let mint = Mint::from_os();
        let key = format!("{KEY_START}{}", BASE64_URL_SAFE_NO_PAD.encode(mint.secret()));
        let new = NewApiKey {
            id: mint.uuid(),
            tenant,
            name: self.name,
            prefix: key.chars().take(PREFIX_CHARS).collect(),
            hash: Sha256::digest(&key).into(),
            scopes: self.scopes,
        };
        store.create_api_key(&new).await?;
        // Nobody can be shown it again.
        say(key)
            .map_err(|error| anyhow::anyhow!("{error:#}: key {} was made and not shown, revoke it", new.id))
    }
}

fn line(key: &ListedKey) -> String {
    let state = if key.revoked_at.is_some() { "revoked" } else { "works" };
    let tenant = key.tenant.as_deref().unwrap_or("(operator)");
    format!("{}\t{}…\t{tenant}\t{}\t{state}\t{}", key.id, key.prefix, key.scopes.join(","), key.name)
}
