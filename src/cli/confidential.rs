//! Which files hold what no RUN may read, of all that the flags, the environment and our conventions name.
//!
//! *Invariant: they are only named here; most of them are not there.*

use std::path::PathBuf;

use super::request::Resolved;
use crate::registry::Content;
use crate::request::SecretSource;

/// What a home directory has of credentials beside Docker's, by the programs that write them.
const AT_HOME: [&str; 12] = [
    ".netrc",
    ".git-credentials",
    ".config/git/credentials",
    ".config/gcloud/application_default_credentials.json",
    ".config/gcloud/credentials.db",
    ".config/gcloud/access_tokens.db",
    ".aws/credentials",
    ".aws/config",
    ".azure/msal_token_cache.json",
    ".ssh/id_ed25519",
    ".ssh/id_ecdsa",
    ".ssh/id_rsa",
];

/// Lists the files.
pub(super) fn files(resolved: &Resolved) -> Vec<PathBuf> {
    let (network, run) = (&resolved.network, &resolved.request.run);
    let documents = network.credentials.documents.iter().filter_map(|document| match &document.content {
        Content::File(path) => Some(path.clone()),
        Content::Text(_) => None,
    });
    let secrets = run.secrets.values().filter_map(|source| match source {
        SecretSource::File(path) => Some(path.clone()),
        SecretSource::Value(_) => None,
    });
    let keys = network.http.hosts.values().filter_map(|tls| Some(tls.identity.as_ref()?.1.clone()));
    let at_home = network.context.homes.iter().flat_map(|home| AT_HOME.iter().map(|name| home.join(name)));
    let named = [&network.endpoints.google_file, &network.azure.token_file].into_iter().flatten();
    let mut files: Vec<PathBuf> = documents.chain(secrets).chain(keys).chain(at_home).collect();
    files.extend(run.agents.values().flatten().chain(&network.context.git.keys).chain(named).cloned());
    files.extend(resolved.request.cache.key.iter().filter_map(|source| match source {
        SecretSource::File(path) => Some(path.clone()),
        SecretSource::Value(_) => None,
    }));
    files.extend(network.named_files.iter().cloned());
    files.extend(resolved.signing.iter().flat_map(|signing| signing.secret_files()));
    files
}
