//! Values that are sent to a URL, as kaniko sends the digest: a PUT of plain text.

use bytes::Bytes;

use super::super::Error;
use super::Facts;
use crate::http::{Agent, CONTENT_TYPE, Call, HeaderValue, Meaning, Method, Url, is_transient_status, redact};
use crate::request::ResultFiles;

/// Sends the values that are asked for at URLs; transient failures are tried again.
///
/// # Errors
/// [`Error::Put`] when a server does not take a value.
pub async fn put_values(facts: &Facts<'_>, results: &ResultFiles, agent: &Agent) -> Result<(), Error> {
    let facts = facts.naming(results);
    for put in &results.puts {
        let Some(value) = facts.value(put.value) else { continue };
        let url: Url = put.url.0.parse().map_err(|_| Error::Put {
            url: "its URL".to_owned(),
            reason: "it is no URL".to_owned(),
            meaning: Meaning::Wrong,
        })?;
        let failure = |reason: String, meaning| Error::Put { url: redact(&url), reason, meaning };
        let mut call = Call::new(Method::PUT, url.clone());
        call.body = Bytes::from(value);
        let call = call.header(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        let sent = agent.send_retrying(&call).await;
        let status = sent.map_err(|error| failure(error.in_short(), error.meaning()))?.status();
        if !status.is_success() {
            // Whatever else it says, it does not take the value.
            let meaning = if is_transient_status(status) { Meaning::Transient } else { Meaning::Denied };
            return Err(failure(format!("the server answered {status}"), meaning));
        }
    }
    Ok(())
}
