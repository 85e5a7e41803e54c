//! `darkroom admin keys`.

use clap::{Args, Subcommand};
use darkroom_client::admin::{ApiKey, MadeApiKey, NewApiKey, Rotation};
use serde_json::json;
use uuid::Uuid;

use super::{Confirmed, Desk, confirm};
use crate::show::{plain, time};

#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// List the keys
    List {
        /// Only keys of the tenant with this id or name
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Make a key and print it; it is shown this once
    Create(Create),
    /// Make a key that takes over from another one, and print it
    Rotate {
        /// Id of the old key
        id: Uuid,
        /// How long the old key goes on working; a day unless given
        #[arg(long, value_name = "SECONDS")]
        overlap_seconds: Option<u64>,
        /// How long the new key works; for as long as nobody revokes it unless given
        #[arg(long, value_name = "SECONDS")]
        lifetime_seconds: Option<u64>,
    },
    /// Stop keys
    Revoke {
        /// Ids of keys
        #[arg(required = true, value_name = "KEY")]
        ids: Vec<Uuid>,
        #[command(flatten)]
        confirmed: Confirmed,
    },
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Id or name of the tenant it belongs to
    #[arg(long, required_unless_present = "operator")]
    tenant: Option<String>,
    /// Make a key of an operator, which belongs to no tenant
    #[arg(long, conflicts_with = "tenant")]
    operator: bool,
    /// What it is for
    #[arg(long)]
    name: String,
    /// What it may do: submit, read; of an operator's key: change things, look at them
    #[arg(long, value_delimiter = ',', default_value = "submit,read")]
    scopes: Vec<String>,
    /// How long it works; for as long as nobody revokes it unless given
    #[arg(long, value_name = "SECONDS")]
    lifetime_seconds: Option<u64>,
    /// Most unfinished jobs of priority interactive it has at once; no limit unless given
    #[arg(long, value_name = "JOBS")]
    max_interactive: Option<u32>,
}

impl Keys {
    pub(super) async fn run(self, desk: &Desk) -> anyhow::Result<()> {
        let made = match self {
            Self::List { tenant } => {
                let head = ["ID", "KEY", "TENANT", "SCOPES", "STATE", "EXPIRES", "NAME"];
                return desk.list(&head, &desk.admin.keys(tenant.as_deref()).await?, row);
            }
            Self::Revoke { ids, confirmed } => return revoke(desk, &ids, confirmed).await,
            Self::Create(Create { tenant, name, scopes, lifetime_seconds, max_interactive, .. }) => {
                let new = NewApiKey { tenant, name, scopes, lifetime_seconds, max_interactive };
                desk.admin.create_key(&new).await?
            }
            Self::Rotate { id, overlap_seconds, lifetime_seconds } => {
                desk.admin.rotate_key(id, &Rotation { overlap_seconds, lifetime_seconds }).await?
            }
        };
        let MadeApiKey { id, key, .. } = &made;
        // Nobody can be shown it again.
        let printed = desk.form.print(|| key.clone(), &made);
        printed.map_err(|error| error.context(format!("key {id} was made and not shown, revoke it")))
    }
}

async fn revoke(desk: &Desk, ids: &[Uuid], confirmed: Confirmed) -> anyhow::Result<()> {
    let question = match ids {
        [id] => format!("Stop key {id} for good"),
        ids => format!("Stop {} keys for good", ids.len()),
    };
    if !confirm(question, confirmed).await? {
        return Ok(());
    }
    for id in ids {
        desk.admin.revoke_key(*id).await?;
        desk.form.print(|| format!("key {id} is revoked"), &json!({"id": id, "revoked": true}))?;
    }
    Ok(())
}

fn row(key: &ApiKey) -> Vec<String> {
    vec![
        key.id.to_string(),
        format!("{}…", key.prefix),
        key.tenant.as_deref().map_or_else(|| "(operator)".to_owned(), plain),
        key.scopes.join(","),
        key.state.clone(),
        key.expires_at.map(time).unwrap_or_default(),
        plain(&key.name),
    ]
}
