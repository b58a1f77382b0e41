//! Image references: registry, repository, tag and digest, with Docker's short names resolved in one place.

use std::fmt;
use std::str::FromStr;

use super::Digest;

/// The registry of a reference that names none.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag of a reference that has neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";

/// Where an image is: `registry/repository[:tag][@digest]`, complete and in normal form.
///
/// `index.docker.io`, `registry-1.docker.io` and no registry at all are `docker.io`, and a Docker Hub name
/// without a namespace is in `library/`. Source: the grammar of
/// <https://github.com/distribution/reference>, as `oci-spec` has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// The host name and, if not the default, the port.
    pub registry: String,
    /// The path within the registry.
    pub repository: String,
    /// The tag; none only when there is a digest.
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
        let error = |reason: String| ReferenceError { text: text.to_owned(), reason };
        if text.contains("://") {
            return Err(error("it must not start with a scheme such as https://".to_owned()));
        }
        let parsed: oci_spec::distribution::Reference = text.parse().map_err(|e| error(format!("{e}")))?;
        let digest = match parsed.digest() {
            Some(digest) => Some(digest.parse::<Digest>().map_err(|e| error(e.to_string()))?),
            None => None,
        };
        let registry = match parsed.registry() {
            "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY,
            other => other,
        };
        let repository = match parsed.repository() {
            short if registry == DEFAULT_REGISTRY && !short.contains('/') => format!("library/{short}"),
            full => full.to_owned(),
        };
        Ok(Self { registry: registry.to_owned(), repository, tag: parsed.tag().map(str::to_owned), digest })
    }
}

#[cfg(test)]
mod tests {
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
        for bad in ["", "UPPER", "a b", "https://registry.example.com/x", "x@sha256:abc", "x:tag:tag", "a,b"] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?} parsed");
        }
    }
}
