//! What to do about an error of a build, where that follows from what has happened.
//!
//! Knows the errors of the rooms and the flags that help against them. What only the room itself knows (what is nearly
//! meant, which right is missing) is in the error already.

use std::io::ErrorKind;
use std::path::Component;

use crate::builder::{CopyError, Error};
use crate::cache;
use crate::causes;
use crate::context;
use crate::http;
use crate::output;
use crate::registry;

/// Says what to do about an error, whoever has met it; nothing where the error says it itself.
pub(super) fn of(error: &Error) -> Option<String> {
    if is_full(error) {
        return Some(full(error));
    }
    match error {
        Error::Context(error) => of_context(error).or_else(|| of_fetch(error)).map(str::to_owned),
        Error::Copy(error) => of_copy(error),
        Error::Cache(cache::Error::Write { .. }) => Some(CACHE_MOUNTS.to_owned()),
        Error::User { .. } => Some(CREATE_USER.to_owned()),
        _ => {
            let of_output = match error {
                Error::Output(
                    output::Error::Registry(error)
                    | output::Error::Partly { source: error, .. }
                    | output::Error::Attachment { source: error, .. },
                ) => Some(error),
                _ => None,
            };
            of_output.or_else(|| causes::of(error).find_map(|cause| cause.downcast_ref())).and_then(of_registry)
        }
    }
}

/// Whatever was being done: no space left is a trouble of its own.
pub(super) fn is_full(error: &Error) -> bool {
    let is_full = |io: &std::io::Error| matches!(io.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    causes::of(error).any(|cause| cause.downcast_ref().is_some_and(is_full))
}

/// Says whose disk is full.
fn full(error: &Error) -> String {
    match error {
        Error::Output(output::Error::Write { path, .. }) => {
            format!("the disk of the output {} is full: make room there, or write it elsewhere", path.display())
        }
        Error::Output(output::Error::Files { .. } | output::Error::Rootfs(_)) => {
            "the disk of an output is full: make room there, or write it elsewhere".to_owned()
        }
        _ => {
            "the disk of the executor's own files is full, where layers and root file systems are: give --state-dir a \
              larger one, or the pod more ephemeral storage"
                .to_owned()
        }
    }
}

fn of_context(error: &context::Error) -> Option<&'static str> {
    match error {
        context::Error::NoContext { path } if path.ends_with("stdin") => {
            Some("standard input is --context=tar://stdin")
        }
        context::Error::NoContext { .. } => Some("--context names it; without the flag it is /workspace/"),
        context::Error::Open { source, .. } if source.kind() == ErrorKind::NotFound => Some(
            "look at the path: what other containers of the pod have is there only where its volume is mounted here, too",
        ),
        context::Error::DockerfileIsDirectory { .. } => {
            Some("--dockerfile names a file; as a context, the directory is --context")
        }
        context::Error::NoNamedContext { .. } => Some(
            "a directory is looked for on this machine; an image is docker-image://NAME, a layout oci-layout://DIRECTORY",
        ),
        context::Error::Archive { .. } | context::Error::Empty { .. } => {
            Some("--context=tar://FILE takes a tar archive, also compressed; a directory is --context=dir://DIRECTORY")
        }
        context::Error::NoDockerfile { .. } => Some("--dockerfile names it; without the flag it is Dockerfile"),
        _ => None,
    }
}

/// Says what to do where a context does not come: what a server has answered is in the error's own text.
fn of_fetch(error: &context::Error) -> Option<&'static str> {
    match error {
        context::Error::Download { source: http::download::Error::Http(failed), .. } => match failed.tls_problem() {
            Some(http::TlsProblem::Untrusted) => Some(
                "its certificate is not trusted: give its authority with --registry-certificate HOST=FILE, or in \
                 SSL_CERT_FILE",
            ),
            _ => of_transport(failed),
        },
        context::Error::Refused { kind: context::ErrorKind::Transient, .. } => Some(
            "look at the address and its port, and at NetworkPolicies and proxies (HTTPS_PROXY, NO_PROXY) of the pod",
        ),
        _ => None,
    }
}

/// What to do about a directory for cache mounts that cannot be written.
const CACHE_MOUNTS: &str =
    "--cache-mounts names the directory: give the pod a volume there that it may write, or leave the flag out";

/// What to do about somebody whom an image does not know.
const CREATE_USER: &str = "create it in an earlier RUN (useradd, groupadd; adduser on Alpine), or write its number";

fn of_copy(error: &CopyError) -> Option<String> {
    let text = match error {
        CopyError::Misspelt { near, .. } => return Some(format!("did you mean {}?", near.display())),
        CopyError::NotFound { path, .. } if path.components().any(|part| part == Component::ParentDir) => {
            "paths stay in the source: its top has nothing above it. Take a directory further up as --context"
        }
        CopyError::Dangling { .. } => {
            "links are followed within the context alone, whose top is `/` for them: copy what is meant into the context"
        }
        CopyError::Ignored { .. } => "take the line out of the ignore file, or add `!PATH` below it",
        CopyError::NotADirectory { .. } => {
            "several sources, and a destination with / at its end, need a directory there: take another destination, or \
             remove the file in an earlier RUN"
        }
        CopyError::ReplacesDirectory { .. } => {
            "write the destination with / at its end to put the file into it, or remove the directory in an earlier RUN"
        }
        CopyError::Owner { .. } => CREATE_USER,
        _ => return None,
    };
    Some(text.to_owned())
}

/// Says what to do about what a registry has answered.
fn of_registry(error: &registry::Error) -> Option<String> {
    let text = match error {
        registry::Error::Places { last, .. } => return of_registry(last),
        registry::Error::Status { status, .. } => match status.as_u16() {
            404 => {
                "look at the name and the tag; some registries say this of private repositories, too, where nobody is \
                 logged in"
            }
            429 => {
                "the registry limits how much is asked of it: log in (anonymous users get least), pull through a mirror \
                 (--registry-mirror, --registry-map), or bring the bases once with `yadokari warmer`"
            }
            500.. => {
                "the registry is in trouble, not the build: look at its own log, and try again later; exit code 75 \
                 says that another try may go well"
            }
            _ => return None,
        },
        registry::Error::Platform { .. } => {
            "--custom-platform says for which platform is built; take one that the image has, or another image"
        }
        registry::Error::Digest { .. } | registry::Error::Size { .. } => {
            "what came is not what was pushed: look at proxies and mirrors on the way, and at the registry's storage"
        }
        registry::Error::Manifest { .. } | registry::Error::Config { .. } => {
            "no registry answers so: look whether a proxy or a login page stands before it, or push the image again"
        }
        registry::Error::Transport { source, .. } => return of_transport(source).map(str::to_owned),
        _ => return None,
    };
    Some(text.to_owned())
}

/// Says what to do where there was no answer; what is wrong with TLS is in the error's own text.
fn of_transport(error: &http::Error) -> Option<&'static str> {
    if error.is_unknown_host() {
        return Some(
            "look at the name; a pod finds names by its DNS service (`dnsPolicy`, NetworkPolicies that allow port 53), or \
             through a proxy (HTTPS_PROXY)",
        );
    }
    let advice = "nobody answers there: look at the address and its port, and at NetworkPolicies and proxies (HTTPS_PROXY, \
                  NO_PROXY) of the pod";
    error.is_transient().then_some(advice)
}
