//! Who we are to Amazon, Google and Azure: from keys, files and the services of a machine to a signature or a token.
//!
//! Knows where each cloud's credentials come from and how they are exchanged. Knows neither registries nor buckets:
//! the callers say what the credential is for and send it themselves.
//!
//! *Invariant: nothing is asked before a caller needs that very cloud; where a machine has no metadata service, that is
//! known in less than a second; no answer of a credential service is in a message, as it may hold secrets.*

#[cfg(feature = "aws")]
pub mod aws;
pub mod azure;
#[cfg(feature = "google")]
pub mod google;

use std::time::Duration;

use crate::http::Agent;

/// How long a metadata service may take to be there: on its own machine it answers at once.
pub const PROBE: Duration = Duration::from_millis(900);

/// Tells whether something listens at `host:port`, within [`PROBE`].
pub async fn is_there(agent: &Agent, address: &str) -> bool {
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().unwrap_or(80)),
        _ => (address, 80),
    };
    matches!(tokio::time::timeout(PROBE, agent.connect(host, port)).await, Ok(Ok(_)))
}
