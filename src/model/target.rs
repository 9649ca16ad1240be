//! Which addresses a webhook may go to. The broker often stands where its users do not: what only machines near it can reach
//! is refused, unless its operator allows it. Decides about addresses, and about what a URL says of its host; never
//! resolves a name.

// The types are pure; nothing here opens a connection.
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::{Error, Reason, Result};

/// Where webhooks may go: everywhere but to what is not public, and there too where it is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    allow: Vec<Cidr>,
}

/// A network: an address and how many of its first bits count, as in `10.0.0.0/8`. An address alone is one of all bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> (Ipv4Addr, u8) {
    (Ipv4Addr::new(a, b, c, d), bits)
}

/// What of IPv4 is not public, and what it is: <https://www.iana.org/assignments/iana-ipv4-special-registry>.
const NOT_PUBLIC: [((Ipv4Addr, u8), &str); 17] = [
    (v4(127, 0, 0, 0, 8), "a loopback address"),
    (v4(10, 0, 0, 0, 8), PRIVATE),
    (v4(172, 16, 0, 0, 12), PRIVATE),
    (v4(192, 168, 0, 0, 16), PRIVATE),
    (v4(169, 254, 0, 0, 16), LINK_LOCAL),
    (v4(0, 0, 0, 0, 8), UNSPECIFIED),
    (v4(100, 64, 0, 0, 10), "an address within a provider's network"),
    (v4(192, 0, 0, 0, 24), RESERVED),
    (v4(192, 0, 2, 0, 24), DOCUMENTATION),
    (v4(198, 51, 100, 0, 24), DOCUMENTATION),
    (v4(203, 0, 113, 0, 24), DOCUMENTATION),
    (v4(192, 88, 99, 0, 24), RESERVED),
    (v4(198, 18, 0, 0, 15), "an address for benchmarks"),
    (v4(224, 0, 0, 0, 4), MULTICAST),
    (v4(255, 255, 255, 255, 32), "the broadcast address"),
    (v4(240, 0, 0, 0, 4), RESERVED),
    // Public by its number, and yet the metadata service of Azure.
    (v4(168, 63, 129, 16, 32), "a cloud's metadata address"),
];

const PRIVATE: &str = "a private address";
const LINK_LOCAL: &str = "a link-local address";
const UNSPECIFIED: &str = "an unspecified address";
const RESERVED: &str = "a reserved address";
const DOCUMENTATION: &str = "an address for documentation";
const MULTICAST: &str = "a multicast address";

impl Targets {
    /// What is not public is allowed within these.
    pub fn new(allow: Vec<Cidr>) -> Self {
        Targets { allow }
    }

    /// Whether a webhook may go there; if not, what the address is.
    pub fn permit(&self, address: IpAddr) -> Result<(), &'static str> {
        let carried = match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => carried(address).map(IpAddr::V4),
        };
        if self.allow.iter().any(|network| network.has(address) || carried.is_some_and(|within| network.has(within))) {
            return Ok(());
        }
        match (address, carried) {
            (_, Some(IpAddr::V4(address))) | (IpAddr::V4(address), _) => permit_v4(address),
            (IpAddr::V6(address), _) => permit_v6(address),
        }
    }

    /// Looks at what a URL says of its host: an address that is not allowed, or a name for this machine
    /// (PUSH_TARGET_REFUSED). Whatever else a name leads to is seen when it is resolved.
    pub fn check(&self, url: &Url) -> Result<()> {
        let refused = |what: String| {
            let message = format!(
                "webhooks may not go to {what}: name a public address, or let the broker's operator allow this one \
                 (webhooks.allow_targets)"
            );
            Err(Error::new(Reason::PushTargetRefused, message).field("push_config.url"))
        };
        let literal = |address: IpAddr| match self.permit(address) {
            Ok(()) => Ok(()),
            Err(kind) => refused(format!("{address}, which is {kind}")),
        };
        match url.host() {
            Some(Host::Ipv4(address)) => literal(address.into()),
            Some(Host::Ipv6(address)) => literal(address.into()),
            Some(Host::Domain(name)) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                let is_local = name == "localhost" || name.ends_with(".localhost") || name == "localhost.localdomain";
                // Whichever of the two it leads to is looked at when it is resolved.
                let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
                match is_local && loopback.into_iter().all(|address| self.permit(address).is_err()) {
                    true => refused(format!("{name}, which is the broker's own machine")),
                    false => Ok(()),
                }
            }
            None => refused("a URL without a host".to_owned()),
        }
    }
}

fn permit_v4(address: Ipv4Addr) -> Result<(), &'static str> {
    let of = |(network, bits): (Ipv4Addr, u8)| Cidr { address: network.into(), bits }.has(address.into());
    match NOT_PUBLIC.iter().find(|(network, _)| of(*network)) {
        Some((_, kind)) => Err(kind),
        None => Ok(()),
    }
}

/// Public is what was given out of 2000::/3, and not for something else:
/// <https://www.iana.org/assignments/iana-ipv6-special-registry>.
fn permit_v6(address: Ipv6Addr) -> Result<(), &'static str> {
    let [first, second, ..] = address.segments();
    match (first, second) {
        _ if address.is_unspecified() => Err(UNSPECIFIED),
        _ if address.is_loopback() => Err("a loopback address"),
        (0xfe80..=0xfebf, _) => Err(LINK_LOCAL),
        // Site-local, which nobody should use any more, and unique local.
        (0xfec0..=0xfeff | 0xfc00..=0xfdff, _) => Err(PRIVATE),
        (0xff00.., _) => Err(MULTICAST),
        (0x2001, 0xdb8) | (0x3fff, 0..=0xfff) => Err(DOCUMENTATION),
        // 2001::/23 is for protocols.
        (0x2001, 0..=0x1ff) => Err(RESERVED),
        (0x2000..=0x3fff, _) => Ok(()),
        _ => Err(RESERVED),
    }
}

/// The IPv4 address to which an IPv6 one leads that carries one.
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        // ::/128 and ::1/128 are addresses of their own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // Mapped, compatible, and as some translators write them.
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        // NAT64.
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        // 6to4.
        | [0x2002, high, low, ..]
        // ISATAP.
        | [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => of(high, low),
        // Teredo: the client's, every bit turned.
        [0x2001, 0, .., high, low] => of(!high, !low),
        _ => None,
    }
}

impl Cidr {
    /// Whether an address belongs to it.
    fn has(&self, address: IpAddr) -> bool {
        let (wide, network, address) = match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => (32, network.to_bits().into(), address.to_bits().into()),
            (IpAddr::V6(network), IpAddr::V6(address)) => (128, network.to_bits(), address.to_bits()),
            _ => return false,
        };
        let differs: u128 = network ^ address;
        // A shift by all 128 bits is none.
        differs.checked_shr(wide - u32::from(self.bits)).unwrap_or(0) == 0
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
            let address: IpAddr = address.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Some(most), |bits| bits.parse().ok())?;
            (bits <= most).then_some(Cidr { address, bits })
        };
        parse().ok_or_else(|| format!("{text:?} is no network: write an address and its bits, as in 10.0.0.0/8"))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(network: Cidr) -> String {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(allow: &[&str]) -> Targets {
        Targets::new(allow.iter().map(|network| network.parse().unwrap()).collect())
    }

    fn check(targets: &Targets, url: &str) -> Result<()> {
        targets.check(&Url::parse(url).unwrap())
    }

    /// In every spelling that a URL knows.
    const REFUSED: [(&str, &str); 62] = [
        ("localhost", "own machine"),
        ("LOCALHOST", "own machine"),
        ("localhost.", "own machine"),
        ("localhost:8080", "own machine"),
        ("api.localhost", "own machine"),
        ("a.b.localhost.", "own machine"),
        ("localhost.localdomain", "own machine"),
        ("ｌocalhost", "own machine"),
        ("127.0.0.1", "loopback"),
        ("127.0.0.1:9", "loopback"),
        ("127.0.0.1.", "loopback"),
        ("127.1", "loopback"),
        ("127.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("2130706433", "loopback"),
        ("0x7f000001", "loopback"),
        ("0x7f.0.0.1", "loopback"),
        ("0X7F.1", "loopback"),
        ("0177.0.0.1", "loopback"),
        ("017700000001", "loopback"),
        ("１２７.０.０.１", "loopback"),
        ("127。0。0。1", "loopback"),
        ("%31%32%37.0.0.1", "loopback"),
        ("0", "unspecified"),
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("0x0", "unspecified"),
        ("10.0.0.1", "private"),
        ("10.255.255.255", "private"),
        ("012.0.0.1", "private"),
        ("167772161", "private"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.1.1", "private"),
        ("0xc0a80101", "private"),
        ("169.254.169.254", "link-local"),
        ("0xa9fea9fe", "link-local"),
        ("2852039166", "link-local"),
        ("0251.0376.0251.0376", "link-local"),
        ("100.100.100.200", "provider's network"),
        ("168.63.129.16", "metadata"),
        ("192.0.0.192", "reserved"),
        ("192.0.2.1", "documentation"),
        ("198.19.0.1", "benchmarks"),
        ("224.0.0.1", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("[::]", "unspecified"),
        ("[::1]", "loopback"),
        ("[0:0:0:0:0:0:0:1]:80", "loopback"),
        ("[::ffff:127.0.0.1]", "loopback"),
        ("[::ffff:a00:1]", "private"),
        ("[::127.0.0.1]", "loopback"),
        ("[64:ff9b::10.0.0.1]", "private"),
        ("[64:ff9b:1::1]", "reserved"),
        ("[2002:7f00:1::]", "loopback"),
        ("[2001:0:1:2:3:4:f5ff:fffe]", "private"),
        ("[2001:4860::5efe:192.168.0.1]", "private"),
        ("[fe80::1]", "link-local"),
        ("[fd00:ec2::254]", "private"),
        ("[ff02::1]", "multicast"),
        ("[2001:db8::1]", "documentation"),
    ];

    #[test]
    fn what_is_not_public_is_refused_in_every_spelling() {
        for (host, kind) in REFUSED {
            for url in [format!("http://{host}"), format!("https://{host}/hook")] {
                let refusal = check(&targets(&[]), &url).expect_err(&url);
                assert_eq!(refusal.reason(), Reason::PushTargetRefused, "{url}");
                assert_eq!(refusal.violated_field(), Some("push_config.url"));
                assert!(refusal.message().contains(kind), "{url}: {refusal}");
                assert!(refusal.message().contains("webhooks.allow_targets"), "{refusal}");
            }
        }
    }

    #[test]
    fn what_is_public_is_not() {
        for host in [
            "example.com",
            "localhost.example.com",
            "notlocalhost",
            "8.8.8.8",
            "172.15.255.255",
            "172.32.0.0",
            "11.0.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "100.63.255.255",
            "100.128.0.0",
            "169.253.255.255",
            "192.167.255.255",
            "223.255.255.255",
            "[2606:4700::1111]",
            "[::ffff:8.8.8.8]",
            "[64:ff9b::8.8.8.8]",
            "[2002:808:808::]",
        ] {
            check(&targets(&[]), &format!("https://{host}/")).unwrap_or_else(|refusal| panic!("{host}: {refusal}"));
        }
    }

    #[test]
    fn what_the_operator_allows_goes_and_nothing_beside_it() {
        let some = targets(&["10.1.0.0/16", "127.0.0.1", "fd00::/8"]);
        for host in ["10.1.2.3", "localhost", "127.0.0.1", "[::ffff:10.1.0.1]", "[64:ff9b::10.1.0.1]", "[fd12::1]"] {
            check(&some, &format!("http://{host}/")).unwrap_or_else(|refusal| panic!("{host}: {refusal}"));
        }
        for host in ["10.2.0.1", "127.0.0.2", "[::1]", "[fc00::1]", "[::ffff:10.2.0.1]"] {
            assert!(check(&some, &format!("http://{host}/")).is_err(), "{host}");
        }
        let all = targets(&["0.0.0.0/0", "::/0"]);
        for (host, _) in REFUSED {
            check(&all, &format!("http://{host}/")).unwrap_or_else(|refusal| panic!("{host}: {refusal}"));
        }
    }

    #[test]
    fn networks_are_read_as_they_are_written() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "::1/128", "fd00::/8"] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }
        assert_eq!("10.0.0.7".parse::<Cidr>().unwrap().to_string(), "10.0.0.7/32");
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "localhost", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8/8"] {
            assert!(bad.parse::<Cidr>().unwrap_err().contains("as in 10.0.0.0/8"), "{bad}");
        }
    }
}
