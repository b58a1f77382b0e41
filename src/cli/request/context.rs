//! Where files come from: `--context`, `--build-context`, `--git`, `--dockerfile`. The forms are those of kaniko, of
//! Docker and of BuildKit.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::{UsageError, absolute, git};
use crate::cli::args::InputArgs;
use crate::cli::env::Environment;
use crate::oci::Digest;
use crate::request::{ContextSource, DockerfileSource, HttpsSource, NamedContext, ObjectSource, SecretUrl};

/// What kaniko takes from a bucket that is named alone.
const DEFAULT_OBJECT: &str = "context.tar.gz";
const DEFAULT_CONTEXT: &str = "/workspace/";
/// The domains of Azure's clouds.
const AZURE: [&str; 4] = ["windows.net", "chinacloudapi.cn", "cloudapi.de", "usgovcloudapi.net"];

/// All that says where files come from.
pub(super) struct Sources {
    pub(super) context: ContextSource,
    pub(super) sub_path: Option<PathBuf>,
    pub(super) max_size: u64,
    pub(super) named: BTreeMap<String, NamedContext>,
    pub(super) dockerfile: DockerfileSource,
}

pub(super) fn sources(
    input: &InputArgs,
    build_args: &BTreeMap<String, String>,
    environment: &Environment,
) -> Result<Sources, UsageError> {
    let working = &environment.directories.working;
    let given = with_base(with_bucket(input)?, input.context_base.as_deref());
    let options = git::options(&input.git, build_args, environment)?;
    let reading = Reading { flag: "--context", working, git: &options };
    let context = reading.source(&given)?;
    let dockerfile = dockerfile(&input.dockerfile, working)?;
    if context == ContextSource::Stdin && dockerfile == DockerfileSource::Stdin {
        let reason = "standard input can be one of them".to_owned();
        return Err(UsageError::Conflict { first: "--context=-", second: "--dockerfile=-", reason });
    }
    let reading = Reading { flag: "--build-context", ..reading };
    let named = input.build_context.iter().map(|text| reading.named(text)).collect::<Result<_, _>>()?;
    Ok(Sources {
        context,
        sub_path: input.context_sub_path.as_deref().map(sub_path).transpose()?.flatten(),
        max_size: size("--context-max-size", &input.context_max_size)?,
        named,
        dockerfile,
    })
}

/// Applies `--bucket`, the old way to name a context in Google Cloud Storage.
fn with_bucket(input: &InputArgs) -> Result<String, UsageError> {
    let Some(bucket) = input.bucket.as_deref().filter(|bucket| !bucket.is_empty()) else {
        return Ok(input.context.clone());
    };
    if !input.context.is_empty() && input.context != DEFAULT_CONTEXT {
        let reason = "both name the context".to_owned();
        return Err(UsageError::Conflict { first: "--bucket", second: "--context", reason });
    }
    Ok(if bucket.contains("://") { bucket.to_owned() } else { format!("gs://{bucket}") })
}

/// Puts a context that is a path below `--context-base`, as kaniko's Task does by joining texts.
fn with_base(given: String, base: Option<&Path>) -> String {
    let base = base.and_then(Path::to_str).filter(|base| !base.is_empty());
    match base {
        Some(base) if !given.is_empty() && given != "-" && !given.contains("://") && !git::is_git(&given) => {
            format!("{base}/{given}")
        }
        _ => given,
    }
}

struct Reading<'a> {
    flag: &'static str,
    working: &'a Path,
    git: &'a git::Options,
}

impl Reading<'_> {
    fn error(&self, given: &str, reason: &str) -> UsageError {
        UsageError::Value { flag: self.flag, value: scheme_of(given).to_owned(), reason: reason.to_owned() }
    }

    /// Reads a context. Prefixes are those of kaniko.
    fn source(&self, given: &str) -> Result<ContextSource, UsageError> {
        if matches!(given, "-" | "tar://stdin" | "tar://-") {
            return Ok(ContextSource::Stdin);
        }
        if git::is_git(given) {
            let source = git::source(given, self.git).map_err(|reason| self.error(given, &reason))?;
            return Ok(ContextSource::Git(source));
        }
        match given.split_once("://") {
            None => Ok(ContextSource::Directory(self.path(given, given)?)),
            Some(("dir", path)) => Ok(ContextSource::Directory(self.path(given, path)?)),
            Some(("tar", path)) => Ok(ContextSource::Tar(self.path(given, path)?)),
            Some(("gs", rest)) => Ok(ContextSource::Gcs(self.object(given, rest, "?generation=")?)),
            Some(("s3", rest)) => Ok(ContextSource::S3(self.object(given, rest, "?versionId=")?)),
            Some(("https", rest)) if is_azure(rest) => Ok(ContextSource::Azblob(SecretUrl(given.to_owned()))),
            Some(("https", _)) => self.archive(given).map(ContextSource::Https),
            Some(("http", _)) => Err(self.error(given, "an archive must come over https://")),
            Some(_) => {
                Err(self.error(given, "the prefix is not known; it may be dir, tar, https, git, ssh, file, gs or s3"))
            }
        }
    }

    fn path(&self, given: &str, path: &str) -> Result<PathBuf, UsageError> {
        if path.is_empty() {
            return Err(self.error(given, "it is empty; give the directory that COPY and ADD take files from"));
        }
        Ok(absolute(Path::new(path), self.working))
    }

    fn object(&self, given: &str, rest: &str, query: &str) -> Result<ObjectSource, UsageError> {
        let (name, version) = match rest.rsplit_once(query) {
            Some((name, version)) if !version.is_empty() => (name, Some(version.to_owned())),
            _ => match rest.rsplit_once('#') {
                Some((name, version)) if !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()) => {
                    (name, Some(version.to_owned()))
                }
                _ => (rest, None),
            },
        };
        let (bucket, key) = name.split_once('/').unwrap_or((name, ""));
        if bucket.is_empty() {
            return Err(self.error(given, "it names no bucket"));
        }
        let key = if key.is_empty() { DEFAULT_OBJECT } else { key };
        if key.ends_with('/') && version.is_some() {
            return Err(self.error(given, "a version is one object's; a directory of objects has none"));
        }
        Ok(ObjectSource { bucket: bucket.to_owned(), key: key.to_owned(), version })
    }

    fn archive(&self, given: &str) -> Result<HttpsSource, UsageError> {
        let Some((url, fragment)) = given.split_once('#') else {
            return Ok(HttpsSource { url: SecretUrl(given.to_owned()), checksum: None });
        };
        let hex = fragment.strip_prefix("sha256=").or_else(|| fragment.strip_prefix("sha256:"));
        let checksum = hex.and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
        match checksum {
            Some(checksum) => Ok(HttpsSource { url: SecretUrl(url.to_owned()), checksum: Some(checksum) }),
            None => Err(self.error(given, "what follows `#` must be sha256= and 64 hexadecimal digits")),
        }
    }

    /// Reads `NAME=VALUE` of `--build-context`.
    fn named(&self, given: &str) -> Result<(String, NamedContext), UsageError> {
        let Some((name, value)) = given.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(self.error(given, "write NAME=VALUE"));
        };
        let context = match value.split_once("://") {
            Some(("docker-image", "scratch")) => NamedContext::Scratch,
            Some(("docker-image", reference)) => match reference.parse() {
                Ok(reference) => NamedContext::Image(reference),
                Err(error) => {
                    return Err(self.error(given, &format!("docker-image:// names no image: {}", error.reason)));
                }
            },
            Some(("oci-layout", rest)) => {
                let (path, digest) = match rest.rsplit_once('@') {
                    Some((path, digest)) => (path, Some(digest.parse())),
                    None => (rest, None),
                };
                let digest = digest.transpose().map_err(|_| self.error(given, "what follows `@` is no digest"))?;
                NamedContext::Layout { path: self.path(given, path)?, digest }
            }
            _ if value == "-" => return Err(self.error(given, "only --context and --dockerfile can be standard input")),
            _ => NamedContext::Files(self.source(value)?),
        };
        Ok((name.to_owned(), context))
    }
}

fn is_azure(rest: &str) -> bool {
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default().to_lowercase();
    AZURE.iter().any(|domain| host.strip_suffix(domain).is_some_and(|host| host.ends_with(".blob.core.")))
}

/// Cuts a URL to its scheme: what follows may hold a password.
fn scheme_of(given: &str) -> &str {
    match given.find("://") {
        Some(index) => &given[..index + "://".len()],
        None => given,
    }
}

/// Reads `--context-sub-path`; kaniko joins it as text, so that a leading slash means nothing.
fn sub_path(given: &str) -> Result<Option<PathBuf>, UsageError> {
    let path = Path::new(given);
    if path.components().any(|part| part == Component::ParentDir) {
        let (value, reason) = (given.to_owned(), "it leaves the context by `..`".to_owned());
        return Err(UsageError::Value { flag: "--context-sub-path", value, reason });
    }
    let parts: PathBuf = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    Ok(Some(parts).filter(|path| !path.as_os_str().is_empty()))
}

fn dockerfile(given: &str, working: &Path) -> Result<DockerfileSource, UsageError> {
    // A pipeline whose parameter is not set passes an empty value.
    let given = if given.is_empty() { "Dockerfile" } else { given };
    if given == "-" {
        return Ok(DockerfileSource::Stdin);
    }
    if given.starts_with("https://") {
        return Ok(DockerfileSource::Url(SecretUrl(given.to_owned())));
    }
    if given.starts_with("http://") {
        let (value, reason) = ("http://".to_owned(), "a Dockerfile must come over https://".to_owned());
        return Err(UsageError::Value { flag: "--dockerfile", value, reason });
    }
    Ok(DockerfileSource::Path { given: given.into(), absolute: absolute(Path::new(given), working) })
}

/// Reads a size: bytes, or a number with k, M, G or T, in powers of 1024.
pub(super) fn size(flag: &'static str, given: &str) -> Result<u64, UsageError> {
    let text = given.trim().trim_end_matches(['b', 'B']).trim_end_matches('i');
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" => Some(0),
        "k" | "K" => Some(10),
        "m" | "M" => Some(20),
        "g" | "G" => Some(30),
        "t" | "T" => Some(40),
        _ => None,
    };
    let bytes = shift.and_then(|shift| digits.trim().parse::<u64>().ok()?.checked_mul(1 << shift));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| UsageError::Value {
        flag,
        value: given.to_owned(),
        reason: "write a number of bytes, or one with k, M, G or T".to_owned(),
    })
}
