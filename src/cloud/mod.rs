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

use crate::http::{Agent, Call, Method, NamedBy};

/// How long a metadata service may take to be there: on its own machine it answers at once.
pub const PROBE: Duration = Duration::from_millis(900);

/// Tells whether a metadata service answers at `host[:port]`, whatever it answers, within [`PROBE`].
///
/// That something listens there says little: networks that drop nothing accept connections for anybody.
pub async fn is_there(agent: &Agent, address: &str) -> bool {
    let Ok(url) = format!("http://{address}/").parse() else { return false };
    let call = Call::new(Method::GET, url).named_by(NamedBy::Cloud);
    matches!(tokio::time::timeout(PROBE, agent.send(&call)).await, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::{Reply, Server};
    use crate::http::{Options, Timeouts};

    const _: () = assert!(PROBE.as_millis() < 1000, "each probe takes less than a second");

    #[tokio::test]
    async fn what_answers_is_there_and_what_only_listens_is_not() {
        let timeouts = Timeouts { idle: Duration::from_secs(20), ..Timeouts::default() };
        let agent = Agent::new(Options { timeouts, ..Options::default() }).expect("agent");
        for status in [200, 400, 404] {
            let server = Server::start(move |_| Reply::new(status)).await;
            assert!(is_there(&agent, &server.address).await, "{status}");
        }
        let silent = Server::start(|_| Reply::silence()).await;
        // The end of a whole exchange with it is far: the probe must come first.
        let call = Call::new(Method::GET, format!("http://{}/", silent.address).parse().expect("a URL"));
        tokio::select! {
            found = is_there(&agent, &silent.address) => assert!(!found),
            _ = agent.send(&call) => panic!("the probe waits for the answer"),
        }
        for nowhere in ["127.0.0.1:1", "[::1]:1", "127.0.0.1:no", ""] {
            assert!(!is_there(&agent, nowhere).await, "{nowhere}");
        }
    }
}
