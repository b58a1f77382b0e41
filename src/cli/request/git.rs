//! How Git repositories are written as contexts.
//!
//! kaniko: `git://HOST/PATH[#REF[#COMMIT]]`. Docker: `URL.git[#REF[:DIRECTORY]]`, `git@HOST:PATH`, and the query form.

use std::collections::BTreeMap;

use super::UsageError;
use crate::cli::args::boolean;
use crate::cli::env::Environment;
use crate::request::{GitSource, SecretUrl};

/// The port of Git's own protocol; who names it means that protocol.
const GIT_PORT: &str = ":9418";

/// What `--git`, the environment and build arguments say about repositories.
pub(super) struct Options {
    branch: Option<String>,
    /// None where nothing was said; some none means all of history.
    depth: Option<Option<u32>>,
    submodules: Option<bool>,
    skip_tls_verify: bool,
    /// None where nothing was said.
    keep_git_directory: Option<bool>,
    /// What `git://` stands for.
    scheme: &'static str,
}

/// Reads `--git`; kaniko has one key in each occurrence, several separated by commas are taken too.
pub(super) fn options(
    given: &[String],
    build_args: &BTreeMap<String, String>,
    environment: &Environment,
) -> Result<Options, UsageError> {
    let name = "GIT_PULL_METHOD";
    let scheme = match environment.variable(name)?.unwrap_or_default() {
        "" | "https" => "https",
        "http" => "http",
        "git" => "git",
        other => {
            let (value, reason) = (other.to_owned(), "it may be https, http or git".to_owned());
            return Err(UsageError::Variable { name, value, reason });
        }
    };
    let keep = build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR").and_then(|value| boolean(value).ok());
    let mut options = Options {
        branch: None,
        depth: None,
        submodules: None,
        skip_tls_verify: false,
        keep_git_directory: keep,
        scheme,
    };
    for pair in given.iter().flat_map(|text| text.split(',')).filter(|pair| !pair.is_empty()) {
        let error =
            |reason: &str| UsageError::Value { flag: "--git", value: pair.to_owned(), reason: reason.to_owned() };
        let (key, value) = pair.split_once('=').ok_or_else(|| error("write NAME=VALUE"))?;
        let flag = || boolean(value).map_err(|reason| error(&reason));
        match key {
            "branch" => options.branch = Some(value.to_owned()).filter(|value| !value.is_empty()),
            // Only what is needed is fetched, whatever this says.
            "single-branch" => drop(flag()?),
            "depth" => {
                let depth: u32 = value.parse().map_err(|_| error("write a number of commits, or 0 for all"))?;
                options.depth = Some(Some(depth).filter(|depth| *depth > 0));
            }
            "recurse-submodules" => options.submodules = Some(flag()?),
            "insecure-skip-tls" => options.skip_tls_verify = flag()?,
            _ => {
                let known = "branch, single-branch, depth, recurse-submodules and insecure-skip-tls";
                return Err(error(&format!("there are {known}")));
            }
        }
    }
    Ok(options)
}

/// Tells whether a context is a Git repository, by its form alone.
pub(super) fn is_git(given: &str) -> bool {
    match given.split_once("://") {
        Some(("git" | "ssh" | "git+ssh" | "git+https" | "git+http" | "file", _)) => true,
        Some(("https" | "http", rest)) => {
            let path = rest.split(['#', '?']).next().unwrap_or_default();
            path.trim_end_matches('/').ends_with(".git")
        }
        Some(_) => false,
        None => is_scp(given),
    }
}

/// Tells whether it is `user@host:path`.
fn is_scp(given: &str) -> bool {
    let Some((login, path)) = given.split_once(':') else { return false };
    let Some((user, host)) = login.split_once('@') else { return false };
    !user.is_empty() && !host.is_empty() && !path.is_empty() && !login.contains('/')
}

/// Reads a repository's URL and what follows it.
pub(super) fn source(given: &str, options: &Options) -> Result<GitSource, String> {
    let defaults = GitSource {
        reference: options.branch.clone(),
        depth: options.depth.unwrap_or(Some(1)),
        // kaniko fetches them when asked to, Docker always.
        submodules: options.submodules.unwrap_or(!given.starts_with("git://")),
        skip_tls_verify: options.skip_tls_verify,
        // kaniko's clone has it, Docker's context does not.
        keep_git_directory: options.keep_git_directory.unwrap_or(given.starts_with("git://")),
        ..GitSource::head()
    };
    let source = defaults.read(given)?;
    Ok(GitSource { url: SecretUrl(url(&source.url.0, options)), ..source })
}

fn url(address: &str, options: &Options) -> String {
    match address.split_once("://") {
        Some(("git", rest)) => {
            let host = rest.split('/').next().unwrap_or_default();
            let scheme = if host.ends_with(GIT_PORT) { "git" } else { options.scheme };
            format!("{scheme}://{rest}")
        }
        Some((scheme @ ("git+ssh" | "git+https" | "git+http"), rest)) => {
            format!("{}://{rest}", scheme.trim_start_matches("git+"))
        }
        _ => address.to_owned(),
    }
}
