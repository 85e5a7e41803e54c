//! What operators decide.

use clap::Args;
use ipnet::IpNet;

use crate::Guard;

/// Settings of services that call addresses which callers name.
#[derive(Debug, Clone, Args)]
pub struct OutboundConfig {
    /// Networks that callers' URLs may lead to although they are not public, as `address/bits` and separated by
    /// commas.
    #[arg(
        long,
        env = "DARKROOM_ALLOWED_NETWORKS",
        value_name = "DARKROOM_ALLOWED_NETWORKS",
        value_delimiter = ',',
        value_parser = parse_network
    )]
    pub allowed_networks: Vec<IpNet>,
}

impl OutboundConfig {
    /// The guard these settings make.
    pub fn guard(&self) -> Guard {
        Guard::new(self.allowed_networks.clone())
    }
}

fn parse_network(text: &str) -> Result<IpNet, String> {
    let expected = || "expected networks as address/bits, such as 10.1.0.0/16 or fd00::/8".to_owned();
    let network: IpNet = text.trim().parse().map_err(|_| expected())?;
    // 10.1.2.3/16 is a slip more often than it is meant.
    if network.addr() == network.network() { Ok(network) } else { Err(expected()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        config: OutboundConfig,
    }

    fn guard(networks: &str) -> Result<Guard, String> {
        let parsed = Program::try_parse_from(["program", &format!("--allowed-networks={networks}")]);
        parsed.map(|program| program.config.guard()).map_err(|error| error.to_string())
    }

    #[test]
    fn only_the_networks_named_are_excepted() {
        let guard = guard("127.0.0.1/32, fd00::/8").unwrap();
        for (address, admitted) in
            [("127.0.0.1", true), ("127.0.0.2", false), ("fd00::1", true), ("::1", false), ("8.8.8.8", true)]
        {
            assert_eq!(guard.admits(address.parse().unwrap()), admitted, "{address}");
        }
    }

    #[test]
    fn refusals_name_the_variable_and_what_is_allowed() {
        for wrong in ["localhost", "127.0.0.1", "10.1.2.3/16", "10.0.0.0/33"] {
            let refused = guard(wrong).unwrap_err();
            let named = refused.contains("DARKROOM_ALLOWED_NETWORKS") && refused.contains("10.1.0.0/16");
            assert!(named, "{refused}");
        }
    }
}
