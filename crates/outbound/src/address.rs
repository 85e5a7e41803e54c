//! Which addresses are public.
//!
//! After IANA's registries of special-purpose addresses (RFC 6890 and its updates). IPv4 is a list of what is
//! closed; IPv6 is the one block that is global unicast, less what is closed in it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Closed IPv4 networks, by address and prefix length.
const CLOSED_V4: [([u8; 4], u32); 16] = [
    ([0, 0, 0, 0], 8),        // this network
    ([10, 0, 0, 0], 8),       // private
    ([100, 64, 0, 0], 10),    // carrier-grade NAT, and the metadata service of one cloud
    ([127, 0, 0, 0], 8),      // loopback
    ([168, 63, 129, 16], 32), // metadata and DNS of Azure, inside a public block
    ([169, 254, 0, 0], 16),   // link-local, and the metadata services of most clouds
    ([172, 16, 0, 0], 12),    // private
    ([192, 0, 0, 0], 24),     // protocol assignments, and the metadata service of one cloud
    ([192, 0, 2, 0], 24),     // documentation
    ([192, 88, 99, 0], 24),   // 6to4 relays
    ([192, 168, 0, 0], 16),   // private
    ([198, 18, 0, 0], 15),    // benchmarks
    ([198, 51, 100, 0], 24),  // documentation
    ([203, 0, 113, 0], 24),   // documentation
    ([224, 0, 0, 0], 4),      // multicast
    ([240, 0, 0, 0], 4),      // reserved, and broadcast
];

/// The block of global unicast addresses. Loopback, unspecified, mapped and translated (`::/8`, `64:ff9b::/16`),
/// discard-only, segment routing, unique local, link-local, site-local and multicast all lie outside.
const GLOBAL_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What is closed inside that block.
const CLOSED_V6: [([u16; 2], u32); 4] = [
    ([0x2001, 0], 23),      // protocol assignments: Teredo, benchmarks, ORCHID
    ([0x2001, 0x0db8], 32), // documentation
    ([0x2002, 0], 16),      // 6to4: an IPv4 address in disguise
    ([0x3fff, 0], 20),      // documentation
];

/// Whether an address belongs to somebody on the internet, as opposed to this machine, its network, its cloud,
/// or nobody. IPv4 addresses that are wrapped in IPv6 ones count as not public, whatever they are.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !CLOSED_V4.iter().any(|&(net, bits)| within_v4(address, net.into(), bits)),
        IpAddr::V6(address) => {
            let closed = |&([a, b], bits): &([u16; 2], u32)| {
                within_v6(address, Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), bits)
            };
            within_v6(address, GLOBAL_V6.0, GLOBAL_V6.1) && !CLOSED_V6.iter().any(closed)
        }
    }
}

fn within_v4(address: Ipv4Addr, net: Ipv4Addr, bits: u32) -> bool {
    (address.to_bits() ^ net.to_bits()).leading_zeros() >= bits
}

fn within_v6(address: Ipv6Addr, net: Ipv6Addr, bits: u32) -> bool {
    (address.to_bits() ^ net.to_bits()).leading_zeros() >= bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(address: &str) -> bool {
        is_public(address.parse().unwrap())
    }

    #[test]
    fn both_ends_of_each_closed_network_are_closed_and_their_neighbours_are_not() {
        for &(net, bits) in &CLOSED_V4 {
            let (first, size) = (u64::from(Ipv4Addr::from(net).to_bits()), 1_u64 << (32 - bits));
            let address = |number: u64| u32::try_from(number).ok().map(|bits| IpAddr::V4(bits.into()));
            for inside in [first, first + size - 1] {
                assert!(!address(inside).is_some_and(is_public), "{net:?}/{bits}");
            }
            // Closed networks that touch one another.
            let alone = !matches!(net, [0 | 224 | 240, ..] | [192, 0, 0, _] | [192, 0, 2, _]);
            if alone {
                for outside in [first - 1, first + size] {
                    assert!(address(outside).is_none_or(is_public), "{net:?}/{bits}");
                }
            }
        }
        for open in ["1.0.0.0", "192.0.1.0", "192.0.3.0", "223.255.255.255", "8.8.8.8"] {
            assert!(public(open), "{open}");
        }
    }

    #[test]
    fn only_global_unicast_is_public_in_ipv6() {
        for open in
            ["2001:4860:4860::8888", "2606:4700::1111", "2001:200::1", "2a00::1", "3ffe::1", "2003::1"]
        {
            assert!(public(open), "{open}");
        }
        for closed in [
            "::",
            "::1",
            "::ffff:8.8.8.8",
            "::8.8.8.8",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::1",
            "100::1",
            "5f00::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:808:808::1",
            "3fff::1",
            "3fff:fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
            "1fff::1",
        ] {
            assert!(!public(closed), "{closed}");
        }
    }
}
