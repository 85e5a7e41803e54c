//! Resolving host names, and checking what they resolve to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use reqwest::dns::{Name, Resolve, Resolving};

use crate::{Error, Guard, Refusal};

/// Who is asked for the addresses of a host name. Asked for as they are: no search domain is ever appended.
#[derive(Debug, Clone)]
pub struct Names {
    resolver: TokioResolver,
}

/// A name that has no address, or whose servers do not say.
#[derive(Debug, thiserror::Error)]
#[error("failed to resolve a host name")]
pub(crate) struct Unresolved(#[source] NetError);

impl Names {
    /// What the machine is set up with: `/etc/hosts`, and the servers of `/etc/resolv.conf`. Where that names none,
    /// one on this machine, as the C library does.
    ///
    /// # Errors
    /// [`Error::Setup`] when a resolver cannot be made.
    pub fn of_system() -> Result<Self, Error> {
        match TokioResolver::builder_tokio() {
            Ok(builder) => Self::build(builder),
            Err(_) => Self::of_server((Ipv4Addr::LOCALHOST, 53).into()),
        }
    }

    /// One server, asked by UDP.
    ///
    /// # Errors
    /// [`Error::Setup`] when a resolver cannot be made.
    pub fn of_server(server: SocketAddr) -> Result<Self, Error> {
        let mut connection = ConnectionConfig::udp();
        connection.port = server.port();
        let mut config = NameServerConfig::udp(server.ip());
        config.connections = vec![connection];
        let config = ResolverConfig::from_name_servers(vec![config]);
        Self::build(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
    }

    fn build(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<Self, Error> {
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
        Ok(Self { resolver: builder.build().map_err(|error| Error::Setup(error.into()))? })
    }

    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Unresolved> {
        let rooted = if name.ends_with('.') { name.to_owned() } else { format!("{name}.") };
        Ok(self.resolver.lookup_ip(rooted).await.map_err(Unresolved)?.iter().collect())
    }
}

/// Resolves a name for one connection, which then goes to one of the addresses that were checked here.
pub(crate) struct GuardedNames {
    pub(crate) names: Names,
    pub(crate) guard: Guard,
}

impl Resolve for GuardedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let (names, guard) = (self.names.clone(), self.guard.clone());
        Box::pin(async move {
            let addresses = names.addresses(name.as_str()).await?;
            // A name with a public and a private address is an attempt at one of the two: neither is called.
            if addresses.iter().any(|&address| !guard.admits(address)) {
                return Err(Refusal::NotPublic.into());
            }
            // The port is the URL's.
            let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as _)
        })
    }
}
