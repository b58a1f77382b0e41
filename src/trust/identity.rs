//! Which name the signature of an image must have.
//!
//! Source: containers-policy.json(5), "signedIdentity".

use serde::Deserialize;

use crate::oci::Reference;

/// What the name in a signature is compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
pub enum Identity {
    /// No name: the digest is what is signed. Ours; for bundles, which name nothing.
    MatchDigest {},
    /// The image's name, tag or digest included.
    MatchExact {},
    /// The same, but an image that is named by digest is only compared by its repository.
    #[default]
    MatchRepoDigestOrExact,
    /// The image's repository.
    MatchRepository {},
    /// This name.
    #[serde(rename_all = "camelCase")]
    ExactReference {
        /// With a tag or digest.
        docker_reference: String,
    },
    /// This repository.
    #[serde(rename_all = "camelCase")]
    ExactRepository {
        /// Without a tag.
        docker_repository: String,
    },
    /// The image's name with another beginning, and then as [`Identity::MatchRepoDigestOrExact`].
    #[serde(rename_all = "camelCase")]
    RemapIdentity {
        /// The beginning that is replaced: a host, namespace or repository.
        prefix: String,
        /// What stands there in signatures.
        signed_prefix: String,
    },
}

impl Identity {
    /// Tells whether a signature that names `signed` may be one of `image`.
    pub fn admits(&self, image: &Reference, signed: Option<&str>) -> bool {
        match (self, signed) {
            (Self::MatchDigest {}, _) => true,
            (_, None) => false,
            (_, Some(signed)) => self.admits_name(image, signed),
        }
    }

    fn admits_name(&self, image: &Reference, signed: &str) -> bool {
        // What names no tag means no tag: the usual `latest` was not signed.
        let Ok(parsed) = signed.parse::<Reference>() else { return false };
        let has_tag = parsed.digest.is_some() || signed.rsplit('/').next().is_some_and(|last| last.contains(':'));
        let exact = |wanted: &Reference| has_tag && parsed == *wanted;
        let repository = |wanted: &Reference| parsed.name() == wanted.name();
        let like = |wanted: &Reference| if wanted.digest.is_some() { repository(wanted) } else { exact(wanted) };
        match self {
            Self::MatchDigest {} => true,
            Self::MatchExact {} => exact(image),
            Self::MatchRepoDigestOrExact => like(image),
            Self::MatchRepository {} => repository(image),
            Self::ExactReference { docker_reference } => docker_reference.parse().is_ok_and(|wanted| exact(&wanted)),
            Self::ExactRepository { docker_repository } => {
                docker_repository.parse().is_ok_and(|wanted| repository(&wanted))
            }
            Self::RemapIdentity { prefix, signed_prefix } => {
                let whole = image.to_string();
                let rest = whole.strip_prefix(prefix).filter(|rest| rest.starts_with(['/', ':', '@']));
                match rest.map(|rest| format!("{signed_prefix}{rest}").parse()) {
                    Some(Ok(moved)) => like(&moved),
                    Some(Err(_)) => false,
                    None => like(image),
                }
            }
        }
    }

    /// Says which name is wanted of an image, for messages.
    pub fn wanted(&self, image: &Reference) -> String {
        match self {
            Self::MatchDigest {} => "anything".to_owned(),
            Self::MatchExact {} => format!("{image}"),
            Self::MatchRepoDigestOrExact if image.digest.is_some() => image.name(),
            Self::MatchRepoDigestOrExact => {
                format!(
                    "{image} (signedIdentity matchRepository takes signatures of the repository, as cosign makes them)"
                )
            }
            Self::MatchRepository {} => image.name(),
            Self::ExactReference { docker_reference } => docker_reference.clone(),
            Self::ExactRepository { docker_repository } => docker_repository.clone(),
            Self::RemapIdentity { signed_prefix, .. } => format!("one that begins with {signed_prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_the_policy_says() {
        let digest = crate::oci::Digest::of(b"");
        let by_digest = format!("r.example.com/a/b@{digest}");
        let rows = [
            (r#"{"type":"matchExact"}"#, "r.example.com/a/b:1", "r.example.com/a/b:1", true),
            (r#"{"type":"matchExact"}"#, "r.example.com/a/b:1", "r.example.com/a/b:2", false),
            (r#"{"type":"matchExact"}"#, "r.example.com/a/b:latest", "r.example.com/a/b", false),
            (r#"{"type":"matchExact"}"#, &by_digest, "r.example.com/a/b:1", false),
            (r#"{"type":"matchRepoDigestOrExact"}"#, &by_digest, "r.example.com/a/b:1", true),
            (r#"{"type":"matchRepoDigestOrExact"}"#, &by_digest, "r.example.com/a/b", true),
            (r#"{"type":"matchRepoDigestOrExact"}"#, "r.example.com/a/b:1", "r.example.com/a/b", false),
            (r#"{"type":"matchRepository"}"#, "r.example.com/a/b:1", "r.example.com/a/b", true),
            (r#"{"type":"matchRepository"}"#, "r.example.com/a/b:1", "r.example.com/a/bc", false),
            (
                r#"{"type":"exactReference","dockerReference":"o.example.com/x:1"}"#,
                &by_digest,
                "o.example.com/x:1",
                true,
            ),
            (
                r#"{"type":"exactReference","dockerReference":"o.example.com/x:1"}"#,
                &by_digest,
                "o.example.com/x:2",
                false,
            ),
            (
                r#"{"type":"exactRepository","dockerRepository":"o.example.com/x"}"#,
                &by_digest,
                "o.example.com/x:2",
                true,
            ),
            (
                r#"{"type":"remapIdentity","prefix":"r.example.com","signedPrefix":"o.example.com/up"}"#,
                "r.example.com/a/b:1",
                "o.example.com/up/a/b:1",
                true,
            ),
            (
                r#"{"type":"remapIdentity","prefix":"r.example.co","signedPrefix":"o.example.com"}"#,
                "r.example.com/a/b:1",
                "r.example.com/a/b:1",
                true,
            ),
        ];
        for (text, image, signed, expected) in rows {
            let identity: Identity = serde_json::from_str(text).expect(text);
            assert_eq!(
                identity.admits(&image.parse().expect("image"), Some(signed)),
                expected,
                "{text} {image} {signed}"
            );
        }
        assert!(serde_json::from_str::<Identity>(r#"{"type":"matchExact","x":1}"#).is_err());
    }
}
