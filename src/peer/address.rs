//! Networks, and the addresses that proxies write down.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

/// A network in the notation of RFC 4632: `10.0.0.0/8`, `fd00::/8`, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    first: IpAddr,
    bits: u32,
}

impl Network {
    /// `None` also for `10.0.0.1/8`, where something other than the network was meant.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (addr, bits) = match text.split_once('/') {
            Some((addr, bits)) => (addr, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().ok()?;
        let width = width(addr);
        let bits = bits.unwrap_or(width);
        let network = Self { first: addr, bits };
        (bits <= width && masked(addr, bits) == number(addr)).then_some(network)
    }

    pub(super) fn contains(&self, addr: IpAddr) -> bool {
        self.first.is_ipv4() == addr.is_ipv4() && masked(addr, self.bits) == number(self.first)
    }
}

fn width(addr: IpAddr) -> u32 {
    if addr.is_ipv4() { 32 } else { 128 }
}

fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => addr.to_bits().into(),
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

/// The first `bits` of an address, the rest zero.
pub(super) fn masked(addr: IpAddr, bits: u32) -> u128 {
    let rest = width(addr).saturating_sub(bits);
    let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
    number(addr) & mask
}

/// The client that a connection from `peer`, a trusted proxy, speaks for: of the addresses in `X-Forwarded-For`, read from
/// the right, the first that is none of the trusted. What cannot be read ends the search at the last one that could.
pub(super) fn client_behind(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let lines: Vec<&[u8]> = headers
        .get_all("x-forwarded-for")
        .iter()
        .map(http::HeaderValue::as_bytes)
        .collect();
    let entries = lines
        .iter()
        .rev()
        .flat_map(|line| line.rsplit(|byte| *byte == b','));
    let mut nearest = peer;
    for entry in entries {
        let Some(addr) = address(entry.trim_ascii()) else {
            break;
        };
        nearest = addr;
        if !trusted.iter().any(|network| network.contains(addr)) {
            break;
        }
    }
    nearest
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:4711`.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let addr = bare.parse::<IpAddr>().ok();
    let addr = addr.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    addr.map(|addr| addr.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    // Fails if: a network holds an address beside it, or of the other kind, or one is taken for another.
    #[test]
    fn networks_hold_what_they_say() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "8.8.8.8", "::1"),
            ("fd00::/8", "fdff::1", "fe00::"),
            ("::/0", "2001:db8::1", "1.2.3.4"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::"),
        ] {
            let network = Network::parse(network).expect("a network");
            assert!(network.contains(ip(inside)) && !network.contains(ip(outside)));
        }
        for wrong in [
            "10.0.0.1/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "/8",
            "",
            "a",
            "10.0.0.0/-1",
        ] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }

    // Fails if: a client chooses its own address by what it writes to the left, or hides behind something unreadable.
    #[test]
    fn the_last_address_that_is_no_proxy_is_the_client() {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|text| Network::parse(text).expect("one"));
        let client = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", line.parse().expect("a value"));
            }
            client_behind(ip("10.0.0.1"), &headers, &trusted).to_string()
        };
        for (lines, expected) in [
            (&[][..], "10.0.0.1"),
            (&["203.0.113.7"][..], "203.0.113.7"),
            (&["6.6.6.6, 203.0.113.7, 10.1.1.1"][..], "203.0.113.7"),
            (&["6.6.6.6", "203.0.113.7,fd00::1"][..], "203.0.113.7"),
            (&["203.0.113.7:1234"][..], "203.0.113.7"),
            (&["[2001:db8::1]:1234"][..], "2001:db8::1"),
            (&["[2001:db8::1]"][..], "2001:db8::1"),
            (&["::ffff:203.0.113.7"][..], "203.0.113.7"),
            (&["10.3.3.3, 10.2.2.2"][..], "10.3.3.3"),
            (&["6.6.6.6, unknown, 10.2.2.2"][..], "10.2.2.2"),
            (&["6.6.6.6, "][..], "10.0.0.1"),
        ] {
            assert_eq!(client(lines), expected, "{lines:?}");
        }
    }
}
