//! `--offline`: what the flags ask for must be had without a network.
//!
//! What the Dockerfile asks for is refused with its line, by the build.

use super::UsageError;
use crate::request::{BuildRequest, ContextSource, DockerfileSource, NamedContext, Output};

/// Refuses a request that has `--offline` and cannot do without the network.
pub(super) fn check(request: &BuildRequest) -> Result<(), UsageError> {
    if !request.offline {
        return Ok(());
    }
    let refuse =
        |second, reason: &str| Err(UsageError::Conflict { first: "--offline", second, reason: reason.to_owned() });
    if !is_local(&request.context) {
        return refuse("--context", "the context would be fetched");
    }
    if matches!(request.dockerfile, DockerfileSource::Url(_)) {
        return refuse("--dockerfile", "it would be fetched");
    }
    let remote = |named: &NamedContext| match named {
        NamedContext::Files(source) => !is_local(source),
        NamedContext::Image(_) => true,
        NamedContext::Layout { .. } | NamedContext::Scratch => false,
    };
    if request.named_contexts.values().any(remote) {
        return refuse("--build-context", "one of them would be fetched");
    }
    if request.outputs.iter().any(|output| matches!(output, Output::Registry(_))) {
        return refuse("--destination", "a push needs the network; add --no-push");
    }
    if request.run.caches.repository.is_some() {
        return refuse("--cache-mounts-repo", "cache mounts would be fetched");
    }
    if !request.results.puts.is_empty() {
        return refuse("--digest-file", "a result would be sent to a URL");
    }
    Ok(())
}

fn is_local(source: &ContextSource) -> bool {
    match source {
        ContextSource::Directory(_) | ContextSource::Tar(_) | ContextSource::Stdin => true,
        ContextSource::Git(git) => git.url.0.starts_with("file://"),
        ContextSource::Https(_) | ContextSource::Gcs(_) | ContextSource::S3(_) | ContextSource::Azblob(_) => false,
    }
}
