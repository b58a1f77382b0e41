//! Image references: registry, repository, tag and digest, with Docker's short names resolved in one place.

use std::fmt;
use std::str::FromStr;

use super::Digest;

/// The registry of a reference that names none.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag of a reference that has neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";

/// Other names of Docker Hub.
const HUB_HOSTS: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];
const LONGEST_TAG: usize = 128;
const LONGEST_REPOSITORY: usize = 255;

/// Where an image is: `registry/repository[:tag][@digest]`, complete and in normal form.
///
/// `index.docker.io`, `registry-1.docker.io` and no registry at all are `docker.io`, and a Docker Hub name
/// without a namespace is in `library/`. Source: the grammar of
/// <https://github.com/distribution/reference>.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// The host name and, if not the default, the port.
    pub registry: String,
    /// The path within the registry.
    pub repository: String,
    /// The tag; none where there is a digest, or where one is to be pushed by digest.
    pub tag: Option<String>,
    /// The digest that pins the content.
    pub digest: Option<Digest>,
}

/// A text that is no image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an image reference: {reason}")]
pub struct ReferenceError {
    /// The text as it was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Reference {
    /// Returns the same repository, pinned to `digest` and without a tag.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// Returns `registry/repository`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Returns what the registry is asked for: the digest if there is one, else the tag.
    pub fn identifier(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => DEFAULT_TAG,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        parse(text).map_err(|reason| ReferenceError { text: text.to_owned(), reason })
    }
}

/// Reads a reference; by hand, as the grammar compiled to an automaton costs 30 ms and 8 MiB in each process.
fn parse(text: &str) -> Result<Reference, String> {
    if text.contains("://") {
        return Err("it must not start with a scheme such as https://".to_owned());
    }
    let (named, digest) = match text.split_once('@') {
        Some((named, digest)) => (named, Some(digest.parse::<Digest>().map_err(|error| error.to_string())?)),
        None => (text, None),
    };
    let (name, tag) = match named.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (named, None),
    };
    if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
        return Err(format!("`{tag}` is no tag: letters, digits, `_`, `.` and `-`, at most {LONGEST_TAG} of them"));
    }
    let (registry, path) = match name.split_once('/').filter(|(first, _)| names_registry(first)) {
        Some((registry, path)) => (registry, path),
        None => (DEFAULT_REGISTRY, name),
    };
    if !is_address(registry) {
        return Err(format!("`{registry}` is no host name with an optional port"));
    }
    if let Some(component) = path.split('/').find(|component| !is_component(component)) {
        return Err(match component {
            "" => "a part of its name is empty".to_owned(),
            _ if component.contains(|c: char| c.is_ascii_uppercase()) => "its name must be in lower case".to_owned(),
            _ => format!(
                "`{component}` is no part of a name: lower-case letters and digits, and `.`, `_`, `__` or dashes between them"
            ),
        });
    }
    let registry = if HUB_HOSTS.contains(&registry) { DEFAULT_REGISTRY } else { registry };
    let is_short = registry == DEFAULT_REGISTRY && !path.contains('/');
    let repository = if is_short { format!("library/{path}") } else { path.to_owned() };
    if repository.len() > LONGEST_REPOSITORY {
        return Err(format!("its name is longer than {LONGEST_REPOSITORY} characters"));
    }
    let default = if digest.is_none() { Some(DEFAULT_TAG) } else { None };
    Ok(Reference { registry: registry.to_owned(), repository, tag: tag.or(default).map(str::to_owned), digest })
}

/// Tells whether the first part of a name is a registry rather than a namespace of Docker Hub.
fn names_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.contains(|c: char| c.is_ascii_uppercase())
}

/// Tells whether this is a host name or IPv4 address, with or without a port.
fn is_address(registry: &str) -> bool {
    let (host, port) = registry.split_once(':').map_or((registry, None), |(host, port)| (host, Some(port)));
    let is_label = |label: &str| {
        label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

/// Tells whether this may stand between the slashes of a repository: runs of letters and digits, joined by one of
/// `.`, `_`, `__` or any number of dashes.
fn is_component(component: &str) -> bool {
    let is_joint = |joint: &str| matches!(joint, "." | "_" | "__") || joint.bytes().all(|byte| byte == b'-');
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    component.starts_with(is_plain) && component.ends_with(is_plain) && component.split(is_plain).all(is_joint)
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
        && tag.bytes().next().is_some_and(is_word)
        && tag.len() <= LONGEST_TAG
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn short_names_are_completed() {
        for (text, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("index.docker.io/library/busybox:1", "docker.io/library/busybox:1"),
            ("user/app", "docker.io/user/app:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/a/b:v1", "localhost:5000/a/b:v1"),
            ("registry.example.com/team/app", "registry.example.com/team/app:latest"),
        ] {
            assert_eq!(text.parse::<Reference>().expect(text).to_string(), full);
        }
    }

    #[test]
    fn a_digest_stands_alone_or_beside_a_tag() {
        let alone: Reference = format!("a.example.com/x@{DIGEST}").parse().expect("digest");
        assert_eq!((alone.tag.as_deref(), alone.identifier()), (None, DIGEST));
        let both: Reference = format!("a.example.com/x:1@{DIGEST}").parse().expect("tag and digest");
        assert_eq!((both.tag.as_deref(), both.identifier()), (Some("1"), DIGEST));
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let long_tag = format!("x:{}", "t".repeat(129));
        let long_name = "n".repeat(256);
        for bad in ["", "UPPER", "a b", "https://registry.example.com/x", "x@sha256:abc", "x:tag:tag", "a,b", "x:"]
            .into_iter()
            .chain(["a//b", "/a", "a/", "a..b", "a___b", ".a", "a-", "host:/x", "-h.example.com/x", "a.b./x", "x:-t"])
            .chain(["H/X", "x@", "@", ":", &*long_tag, &*long_name])
        {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?} parsed");
        }
    }

    proptest! {
        /// Where both have an answer, it is the same.
        #[test]
        fn oci_spec_reads_the_same(text in "([a-zA-Z0-9.-]{1,6}(:[0-9]{0,3})?/)?[a-z0-9._/-]{0,12}(:[a-zA-Z0-9._-]{0,4})?") {
            let ours = text.parse::<Reference>();
            let theirs = text.parse::<oci_spec::distribution::Reference>();
            prop_assert!(ours.is_err() || theirs.is_ok(), "{text}: {ours:?}, {theirs:?}");
            if let (Ok(ours), Ok(theirs)) = (&ours, &theirs)
                // The name of a registry may be in upper case, which oci-spec takes for a namespace.
                && !text.split('/').next().is_some_and(|first| first.contains(|c: char| c.is_ascii_uppercase()))
            {
                prop_assert_eq!(&ours.registry, theirs.registry());
                prop_assert_eq!(&ours.repository, theirs.repository());
                prop_assert_eq!(ours.tag.as_deref(), theirs.tag());
            }
            // Ours is stricter in one place: what stands for a registry must be a host name.
            if theirs.is_ok() && !text.contains(['_', '-', '.']) {
                prop_assert!(ours.is_ok(), "{text}: {ours:?}");
            }
        }
    }
}
