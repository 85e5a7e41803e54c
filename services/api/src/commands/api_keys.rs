//! `api-keys`.

use std::time::Duration;

use clap::{Args, Subcommand};
use darkroom_store::{ListedKey, NewApiKey, Owner, Scope, StoreConfig};
use uuid::Uuid;

use super::say;
use super::tenants::connect;
use crate::Mint;
use crate::key::FreshKey;
use crate::name::parse_name;

#[derive(Debug, Subcommand)]
pub(super) enum ApiKeys {
    /// Make a key and print it. It is shown this once.
    Create(Create),
    /// Print every key: id, visible start, tenant, scopes, state, name.
    List {
        #[command(flatten)]
        store: StoreConfig,
    },
    /// Make a key stop working, within a second.
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

    /// How long it works, in seconds, up to ten years; for as long as nobody revokes it unless given.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=315_360_000))]
    lifetime: Option<u64>,

    /// Most unfinished jobs of priority interactive it has at once; no limit unless given.
    #[arg(long, value_name = "JOBS")]
    max_interactive: Option<u32>,

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
                connect(&store).await?.api_keys(Owner::Anybody).await?.iter().map(line).try_for_each(say)
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
        let key = FreshKey::draw(&Mint::from_os());
        let new = NewApiKey {
            id: key.id,
            tenant,
            name: self.name,
            prefix: key.prefix,
            hash: key.hash,
            scopes: self.scopes,
            lifetime: self.lifetime.map(Duration::from_secs),
            max_interactive: self.max_interactive,
        };
        store.create_api_key(&new).await?;
        // Nobody can be shown it again.
        say(key.text)
            .map_err(|error| anyhow::anyhow!("{error:#}: key {} was made and not shown, revoke it", new.id))
    }
}

fn line(key: &ListedKey) -> String {
    let state = key.state.as_str();
    let tenant = key.tenant_name.as_deref().unwrap_or("(operator)");
    format!("{}\t{}…\t{tenant}\t{}\t{state}\t{}", key.id, key.prefix, key.scopes.join(","), key.name)
}
