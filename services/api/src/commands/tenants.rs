//! `tenants`.

use clap::Subcommand;
use darkroom_jobs::TenantId;
use darkroom_store::{Store, StoreConfig};

use super::{connect_to, say};
use crate::Mint;
use crate::name::parse_name;

#[derive(Debug, Subcommand)]
pub(super) enum Tenants {
    /// Make a tenant and print its id.
    Create {
        /// Its name, 1 to 100 characters.
        #[arg(value_parser = parse_name)]
        name: String,

        #[command(flatten)]
        store: StoreConfig,
    },
    /// Print every tenant: id, time of creation, name.
    List {
        #[command(flatten)]
        store: StoreConfig,
    },
}

/// The store, for a command that makes a few calls.
pub(super) async fn connect(config: &StoreConfig) -> anyhow::Result<Store> {
    let store = connect_to(config).await?;
    store.check_schema().await?;
    Ok(store)
}

impl Tenants {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create { name, store } => {
                let id = TenantId::from_uuid(Mint::from_os().uuid());
                connect(&store).await?.create_tenant(id, &name).await?;
                say(id)
            }
            Self::List { store } => connect(&store).await?.tenants().await?.iter().try_for_each(|tenant| {
                let created = tenant.created_at.format("%Y-%m-%dT%H:%M:%SZ");
                say(format_args!("{}\t{created}\t{}", tenant.id, tenant.name))
            }),
        }
    }
}
