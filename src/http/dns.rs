//! Host names to addresses, without the C library and without anyone else's name servers.
//!
//! *Invariant: resolv.conf and hosts are read once; where they name no server, a lookup fails with that
//! reason and never asks a public server instead.*

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::OnceLock;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::parse_resolv_conf;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::reach::{Reach, is_localhost};

/// Resolves names for every client of an agent.
#[derive(Clone)]
pub(super) struct Resolver(std::sync::Arc<Inner>);

/// Resolves names for those clients that must not reach every address: the connection goes to one of these and to no
/// other.
pub(super) struct Within {
    pub(super) resolver: Resolver,
    pub(super) reach: Reach,
    /// Names that the user chose for all, such as a proxy's.
    pub(super) chosen: std::sync::Arc<HashSet<String>>,
}

struct Inner {
    table: HashMap<String, Vec<IpAddr>>,
    servers: Result<(ResolverConfig, ResolverOpts), String>,
    // Made at the first lookup, when a runtime is there for its tasks.
    resolver: OnceLock<TokioResolver>,
}

/// A name without an address.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    #[error("cannot look up host `{host}`: {reason}")]
    NoServers { host: String, reason: String },
    #[error("host `{host}` has no address")]
    NotFound { host: String },
    #[error("cannot look up host `{host}`")]
    Failed {
        host: String,
        #[source]
        source: NetError,
    },
    /// It has addresses, and we may go to none of them.
    #[error("host `{host}` has the address {address}, which is not for builds")]
    OutOfReach { host: String, address: IpAddr },
}

impl LookupError {
    /// Tells whether asking again is of no use.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::NoServers { .. } | Self::NotFound { .. } | Self::OutOfReach { .. } => true,
            Self::Failed { .. } => false,
        }
    }
}

impl Resolver {
    /// Reads both files; what is wrong with resolv.conf is told by the first lookup that needs it.
    pub(super) fn new(resolv_conf: &Path, hosts_file: &Path) -> Self {
        let servers = std::fs::read(resolv_conf)
            .map_err(|e| format!("cannot read {}: {e}", resolv_conf.display()))
            .and_then(|text| parse_resolv_conf(text).map_err(|e| format!("cannot use {}: {e}", resolv_conf.display())));
        let table =
            std::fs::read(hosts_file).map(|text| parse_hosts(&String::from_utf8_lossy(&text))).unwrap_or_default();
        Self(std::sync::Arc::new(Inner { table, servers, resolver: OnceLock::new() }))
    }
}

impl Within {
    /// Returns the addresses of a name, or of an address's text, to which a connection may be made.
    pub(super) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        let host = name.trim_start_matches('[').trim_end_matches(']');
        let mut addresses = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => self.resolver.0.lookup(host).await?,
        };
        let first = addresses.first().copied();
        if !self.chosen.contains(&host.to_lowercase()) {
            addresses.retain(|address| self.reach.allows(*address));
        }
        match first {
            Some(address) if addresses.is_empty() => Err(LookupError::OutOfReach { host: host.to_owned(), address }),
            _ => Ok(addresses),
        }
    }
}

impl Resolve for Within {
    fn resolve(&self, name: Name) -> Resolving {
        let within = Self { resolver: self.resolver.clone(), chosen: self.chosen.clone(), reach: self.reach };
        Box::pin(async move {
            let addresses = within.addresses(name.as_str()).await?;
            let sockets: Addrs = Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(sockets)
        })
    }
}

impl Inner {
    async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        let host = name.trim_end_matches('.').to_lowercase();
        if let Some(addresses) = self.table.get(&host) {
            return Ok(addresses.clone());
        }
        // Hosts file or not.
        if is_localhost(&host) {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let resolver = self.resolver(&host)?;
        match resolver.lookup_ip(name).await {
            Ok(found) => {
                let addresses: Vec<IpAddr> = found.iter().collect();
                if addresses.is_empty() { Err(LookupError::NotFound { host }) } else { Ok(addresses) }
            }
            Err(error) if error.is_no_records_found() || error.is_nx_domain() => Err(LookupError::NotFound { host }),
            Err(source) => Err(LookupError::Failed { host, source }),
        }
    }

    fn resolver(&self, host: &str) -> Result<&TokioResolver, LookupError> {
        let no_servers = |reason: &str| LookupError::NoServers { host: host.to_owned(), reason: reason.to_owned() };
        if let Some(resolver) = self.resolver.get() {
            return Ok(resolver);
        }
        let (config, options) = self.servers.as_ref().map_err(|reason| no_servers(reason))?;
        let mut builder = TokioResolver::builder_with_config(config.clone(), TokioRuntimeProvider::default());
        *builder.options_mut() = options.clone();
        builder.options_mut().use_hosts_file = ResolveHosts::Never;
        // IPv4 first: pods often have IPv6 addresses in DNS and no route to them.
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        let made = builder.build().map_err(|e| no_servers(&e.to_string()))?;
        Ok(self.resolver.get_or_init(|| made))
    }
}

/// Reads `address name…` lines. Source: hosts(5).
fn parse_hosts(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut table: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
            continue;
        };
        for name in words {
            table.entry(name.trim_end_matches('.').to_lowercase()).or_default().push(address);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver(directory: &Path, resolv_conf: Option<&str>, hosts: &str) -> Resolver {
        let (conf_path, hosts_path) = (directory.join("resolv.conf"), directory.join("hosts"));
        if let Some(text) = resolv_conf {
            std::fs::write(&conf_path, text).expect("write");
        }
        std::fs::write(&hosts_path, hosts).expect("write");
        Resolver::new(&conf_path, &hosts_path)
    }

    #[tokio::test]
    async fn hosts_are_honoured_and_localhost_always_works() {
        let directory = tempfile::tempdir().expect("directory");
        let resolver = resolver(directory.path(), None, "10.1.2.3 Registry.Test r # no\nfe80::1 r\nnonsense x\n");
        let lookup = async |name: &str| resolver.0.lookup(name).await.map(|a| a.len()).map_err(|e| e.to_string());
        assert_eq!(lookup("registry.test").await, Ok(1));
        assert_eq!(lookup("R.").await, Ok(2));
        assert_eq!(lookup("localhost").await, Ok(2));
        assert_eq!(lookup("a.localhost").await, Ok(2));
        let error = resolver.0.lookup("x").await.expect_err("no servers");
        assert!(error.is_final() && error.to_string().contains("resolv.conf"), "{error}");
    }

    #[tokio::test]
    async fn a_resolv_conf_without_servers_asks_nobody() {
        let directory = tempfile::tempdir().expect("directory");
        let resolver = resolver(directory.path(), Some("search example.com\n"), "");
        let error = resolver.0.lookup("registry.example.com").await.expect_err("no servers");
        assert!(matches!(error, LookupError::NoServers { .. }), "{error}");
    }
}
