//! Which addresses a request may lead to.
//!
//! Link-local addresses are those of the machine's own services: what answers there gives credentials to whoever asks.
//! Neither a Dockerfile nor a server that was asked for something else may send us there.
//!
//! *Invariant: pure; an address is judged as what it stands for, in whatever form it is written.*

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

/// How far a request may go, by who named its URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Reach {
    /// To every address.
    Everywhere,
    /// Not to link-local addresses and metadata services.
    NotLinkLocal,
    /// Neither there nor to this machine.
    NotLocal,
}

impl Reach {
    /// Tells whether a connection to an address may be made.
    pub(super) fn allows(self, address: IpAddr) -> bool {
        let address = meant(address);
        match self {
            Self::Everywhere => true,
            Self::NotLinkLocal => !is_link_local(address),
            Self::NotLocal => !is_link_local(address) && !is_this_machine(address),
        }
    }

    /// Tells whether a URL may be asked, as far as its text shows: what a name leads to is judged when it is looked up.
    pub(super) fn allows_host_of(self, url: &Url) -> bool {
        address_of(url).is_none_or(|address| self.allows(address)) && !(self == Self::NotLocal && is_loopback(url))
    }
}

/// Tells whether a URL is one of this machine by its text.
pub fn is_loopback(url: &Url) -> bool {
    let name = url.host_str().unwrap_or_default();
    address_of(url).is_some_and(|address| is_this_machine(meant(address))) || is_localhost(name)
}

/// Tells whether a name is loopback whatever a name server says. Source: RFC 6761 section 6.3.
pub(super) fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

fn address_of(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Takes an IPv4 address out of the IPv6 addresses that lead to it: mapped and compatible ones, those of a translator
/// (RFC 6052) and of 6to4 (RFC 3056).
fn meant(address: IpAddr) -> IpAddr {
    let IpAddr::V6(long) = address else { return address };
    let parts = long.segments();
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => of(high, low),
        [0x2002, high, low, ..] => of(high, low),
        _ => address,
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        // The last two are the metadata services of Alibaba and Azure, which have no link-local address.
        IpAddr::V4(short) => {
            short.is_link_local() || matches!(short.octets(), [100, 100, 100, 200] | [168, 63, 129, 16])
        }
        IpAddr::V6(long) => {
            let parts = long.segments();
            // The metadata services of Amazon and of Google have unique local addresses.
            parts[0] & 0xffc0 == 0xfe80 || parts[..2] == [0xfd00, 0xec2] || long == GOOGLE
        }
    }
}

/// Google's metadata service.
const GOOGLE: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);

/// Tells whether an address is this machine's; a connection to "no address" leads there, too.
fn is_this_machine(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(short) => short.is_loopback() || short.octets()[0] == 0,
        IpAddr::V6(long) => long.is_loopback() || long.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_judged_as_what_it_stands_for() {
        for (address, link_local, loopback) in [
            ("169.254.169.254", true, false),
            ("169.254.170.2", true, false),
            ("100.100.100.200", true, false),
            ("fe80::1", true, false),
            ("febf::1", true, false),
            ("fd00:ec2::254", true, false),
            ("fd20:ce::254", true, false),
            ("::ffff:169.254.169.254", true, false),
            ("::169.254.169.254", true, false),
            ("64:ff9b::a9fe:a9fe", true, false),
            ("2002:a9fe:a9fe::1", true, false),
            ("127.0.0.1", false, true),
            ("127.9.9.9", false, true),
            ("0.0.0.0", false, true),
            ("::1", false, true),
            ("::", false, true),
            ("::ffff:127.0.0.1", false, true),
            ("10.0.0.1", false, false),
            ("fec0::1", false, false),
            ("fd00::1", false, false),
            ("2001:db8::1", false, false),
        ] {
            let parsed: IpAddr = address.parse().expect("an address");
            assert_eq!(Reach::NotLinkLocal.allows(parsed), !link_local, "{address}");
            assert_eq!(Reach::NotLocal.allows(parsed), !link_local && !loopback, "{address}");
            assert!(Reach::Everywhere.allows(parsed));
        }
    }

    #[test]
    fn a_url_is_judged_by_its_host_in_any_form() {
        for (url, link_local, loopback) in [
            ("http://169.254.169.254/latest", true, false),
            ("http://2852039166/", true, false),
            ("http://0xa9fea9fe/", true, false),
            ("http://0251.0376.0251.0376/", true, false),
            ("http://[fe80::1]/", true, false),
            ("http://[::ffff:a9fe:a9fe]/", true, false),
            ("http://localhost:1/", false, true),
            ("http://A.LocalHost./", false, true),
            ("http://127.1/", false, true),
            ("https://registry.example.com/", false, false),
            ("https://localhost.example.com/", false, false),
        ] {
            let url: Url = url.parse().expect("a URL");
            assert_eq!(Reach::NotLinkLocal.allows_host_of(&url), !link_local, "{url}");
            assert_eq!(Reach::NotLocal.allows_host_of(&url), !link_local && !loopback, "{url}");
            assert_eq!(is_loopback(&url), loopback, "{url}");
        }
    }
}
