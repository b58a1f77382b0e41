//! A policy: which images must be signed, and by whom. In the form of containers-policy.json(5), that people have already.
//!
//! Source: <https://github.com/containers/image/blob/main/docs/containers-policy.json.5.md>.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::identity::Identity;
use super::provenance::Provenance;
use crate::oci::{Reference, from_json};
use crate::signing::{IdentityTrust, KeyError, PublicKey, Root, Trust};

/// A policy that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It is no policy.
    #[error("it is no policy (containers-policy.json): {0}")]
    Malformed(serde_json::Error),
    /// Something in it makes no sense.
    #[error("the rule `{rule}`: {reason}")]
    Rule {
        /// The rule's scope, or `default`.
        rule: String,
        /// What is wrong.
        reason: String,
    },
    /// A key, or a list of authorities, that it names cannot be read.
    #[error("the rule `{rule}`: {} cannot be read", path.display())]
    Unreadable {
        /// The rule's scope.
        rule: String,
        /// The key's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A key that it has or names cannot be used.
    #[error("the rule `{rule}`: {whence} cannot be used: {source}")]
    Key {
        /// The rule's scope.
        rule: String,
        /// The file, or the field.
        whence: String,
        /// Why.
        source: KeyError,
    },
}

/// Which images must be signed, and by whom.
#[derive(Clone, Debug)]
pub struct Policy {
    default: Vec<Requirement>,
    /// By scope, those of images in registries.
    docker: BTreeMap<String, Vec<Requirement>>,
    /// By scope, those of OCI layouts.
    layouts: BTreeMap<String, Vec<Requirement>>,
}

/// A rule that was found for an image: its name, and all that it asks for.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'a> {
    /// Its scope, or `default`.
    pub name: &'a str,
    /// All of them must be met.
    pub requirements: &'a [Requirement],
}

/// One thing that an image must meet.
#[derive(Clone, Debug)]
pub enum Requirement {
    /// Nothing.
    Anything,
    /// What nothing meets.
    Reject,
    /// A signature.
    Signed {
        /// By whom.
        by: Trust,
        /// Of an image of which name.
        identity: Identity,
    },
    /// Provenance. Ours.
    Provenance(Provenance),
    /// Something that we cannot check.
    Unsupported(&'static str),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    default: Vec<Wanted>,
    #[serde(default)]
    transports: BTreeMap<String, BTreeMap<String, Vec<Wanted>>>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
enum Wanted {
    InsecureAcceptAnything {},
    Reject {},
    /// Its fields are those of OpenPGP.
    SignedBy(Whatever),
    SignedBaseLayer(Whatever),
    SigstoreSigned(Box<SigstoreSigned>),
    /// Ours: containers/image refuses a file with a type that it does not know.
    SlsaProvenance(Box<SlsaProvenance>),
}

/// Fields that are not looked at.
#[derive(Deserialize)]
struct Whatever {}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SigstoreSigned {
    key_path: Option<PathBuf>,
    key_paths: Option<Vec<PathBuf>>,
    key_data: Option<String>,
    key_datas: Option<Vec<String>>,
    signed_identity: Option<Identity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SlsaProvenance {
    builder: String,
    key_path: Option<PathBuf>,
    key_paths: Option<Vec<PathBuf>>,
    key_data: Option<String>,
    key_datas: Option<Vec<String>>,
    certificate_identity: Option<String>,
    certificate_oidc_issuer: Option<String>,
    trusted_root: Option<PathBuf>,
}

/// Keys as a policy gives them.
struct Keys {
    path: Option<PathBuf>,
    paths: Option<Vec<PathBuf>>,
    data: Option<String>,
    datas: Option<Vec<String>>,
}

/// Reads the files that a policy names.
type ReadKey<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

impl Policy {
    /// Reads a policy, and the keys that it names.
    ///
    /// # Errors
    /// [`PolicyError`]: as with containers/image, nothing of a policy holds of which a part cannot be read.
    pub fn parse(text: &[u8], read: &dyn Fn(&Path) -> io::Result<Vec<u8>>) -> Result<Self, PolicyError> {
        let mut document: Document = from_json(text).map_err(PolicyError::Malformed)?;
        let mut scopes = |transport: &str| {
            let scopes = document.transports.remove(transport).unwrap_or_default().into_iter();
            let scopes = scopes.map(|(scope, wanted)| {
                let name = if scope.is_empty() { format!("{transport}:") } else { scope.clone() };
                Ok((scope, requirements(&name, wanted, read)?))
            });
            scopes.collect::<Result<BTreeMap<_, _>, PolicyError>>()
        };
        let (docker, layouts) = (scopes("docker")?, scopes("oci")?);
        Ok(Self { default: requirements("default", document.default, read)?, docker, layouts })
    }

    /// Returns the rule for an image of a registry: that of the most specific scope.
    pub fn rule(&self, reference: &Reference) -> Rule<'_> {
        self.find(&self.docker, scopes(reference))
    }

    /// Returns the rule for an OCI layout: that of its path, or of the nearest directory above.
    pub fn rule_of_layout(&self, path: &Path) -> Rule<'_> {
        self.find(&self.layouts, path.ancestors().map(|path| path.display().to_string()))
    }

    fn find<'a>(
        &'a self,
        rules: &'a BTreeMap<String, Vec<Requirement>>,
        scopes: impl IntoIterator<Item = String>,
    ) -> Rule<'a> {
        let found = scopes.into_iter().chain([String::new()]).find_map(|scope| rules.get_key_value(&scope));
        match found {
            Some((name, requirements)) if name.is_empty() => Rule { name: "transport default", requirements },
            Some((name, requirements)) => Rule { name, requirements },
            None => Rule { name: "default", requirements: &self.default },
        }
    }
}

/// Lists the scopes that an image is in, the most specific first.
///
/// Source: containers/image, `docker/policyconfiguration`: the image, its repository, the namespaces and the host above it,
/// and then the domains that the host is in.
fn scopes(reference: &Reference) -> Vec<String> {
    let mut name = reference.name();
    let mut scopes: Vec<String> = reference.digest.iter().map(|digest| format!("{name}@{digest}")).collect();
    scopes.extend(reference.tag.iter().map(|tag| format!("{name}:{tag}")));
    while let Some(slash) = name.rfind('/') {
        scopes.push(name.clone());
        name.truncate(slash);
    }
    scopes.push(name.clone());
    let mut host = name.split(':').next().unwrap_or_default();
    while let Some((_, domain)) = host.split_once('.') {
        scopes.push(format!("*.{domain}"));
        host = domain;
    }
    scopes
}

fn requirements(rule: &str, wanted: Vec<Wanted>, read: ReadKey<'_>) -> Result<Vec<Requirement>, PolicyError> {
    if wanted.is_empty() {
        let reason = "it asks for nothing: write insecureAcceptAnything where that is meant".to_owned();
        return Err(PolicyError::Rule { rule: rule.to_owned(), reason });
    }
    wanted.into_iter().map(|wanted| requirement(rule, wanted, read)).collect()
}

fn requirement(rule: &str, wanted: Wanted, read: ReadKey<'_>) -> Result<Requirement, PolicyError> {
    match wanted {
        Wanted::InsecureAcceptAnything {} => Ok(Requirement::Anything),
        Wanted::Reject {} => Ok(Requirement::Reject),
        Wanted::SignedBy(Whatever {}) => Ok(Requirement::Unsupported("signedBy (OpenPGP signatures)")),
        Wanted::SignedBaseLayer(Whatever {}) => Ok(Requirement::Unsupported("signedBaseLayer")),
        Wanted::SigstoreSigned(wanted) => {
            let SigstoreSigned { key_path, key_paths, key_data, key_datas, signed_identity } = *wanted;
            let given = Keys { path: key_path, paths: key_paths, data: key_data, datas: key_datas };
            let by = Trust::Keys(keys(rule, given, read)?);
            Ok(Requirement::Signed { by, identity: signed_identity.unwrap_or_default() })
        }
        Wanted::SlsaProvenance(wanted) => provenance(rule, *wanted, read).map(Requirement::Provenance),
    }
}

fn provenance(rule: &str, wanted: SlsaProvenance, read: ReadKey<'_>) -> Result<Provenance, PolicyError> {
    let SlsaProvenance { builder, key_path, key_paths, key_data, key_datas, .. } = wanted;
    let wrong = |reason: String| PolicyError::Rule { rule: rule.to_owned(), reason };
    if builder.is_empty() {
        return Err(wrong("builder is empty: write the URI that provenance must name".to_owned()));
    }
    let keys_given = Keys { path: key_path, paths: key_paths, data: key_data, datas: key_datas };
    let by = match (wanted.certificate_identity, wanted.certificate_oidc_issuer, wanted.trusted_root) {
        (None, None, None) => Trust::Keys(keys(rule, keys_given, read)?),
        (Some(subject), Some(issuer), Some(path)) if keys_given.count() == 0 => {
            let text = read(&path).map_err(|source| unreadable(rule, &path, source))?;
            let root =
                Root::parse(&text).map_err(|error| wrong(format!("{} cannot be used: {error}", path.display())))?;
            Trust::Identity(Box::new(IdentityTrust { root, subject, issuer }))
        }
        _ => {
            let reason = "give a key, or all of certificateIdentity, certificateOidcIssuer and trustedRoot";
            return Err(wrong(reason.to_owned()));
        }
    };
    Ok(Provenance { builder, by })
}

impl Keys {
    fn count(&self) -> usize {
        let given = [self.path.is_some(), self.paths.is_some(), self.data.is_some(), self.datas.is_some()];
        given.iter().filter(|given| **given).count()
    }
}

fn keys(rule: &str, given: Keys, read: ReadKey<'_>) -> Result<Vec<PublicKey>, PolicyError> {
    if given.count() != 1 {
        let reason = "give exactly one of keyPath, keyPaths, keyData and keyDatas".to_owned();
        return Err(PolicyError::Rule { rule: rule.to_owned(), reason });
    }
    let mut keys = Vec::new();
    for path in given.path.into_iter().chain(given.paths.unwrap_or_default()) {
        let text = read(&path).map_err(|source| unreadable(rule, &path, source))?;
        keys.push(key(rule, &path.display().to_string(), &text)?);
    }
    for data in given.data.into_iter().chain(given.datas.unwrap_or_default()) {
        let text = STANDARD.decode(&data);
        let text = text
            .map_err(|_| PolicyError::Rule { rule: rule.to_owned(), reason: "keyData is not in base64".to_owned() })?;
        keys.push(key(rule, "keyData", &text)?);
    }
    Ok(keys)
}

fn unreadable(rule: &str, path: &Path, source: io::Error) -> PolicyError {
    PolicyError::Unreadable { rule: rule.to_owned(), path: path.to_owned(), source }
}

fn key(rule: &str, whence: &str, text: &[u8]) -> Result<PublicKey, PolicyError> {
    let unusable = |source| PolicyError::Key { rule: rule.to_owned(), whence: whence.to_owned(), source };
    PublicKey::from_pem(text).map_err(unusable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Policy, String> {
        let read = |_: &Path| Err(io::ErrorKind::NotFound.into());
        Policy::parse(text.as_bytes(), &read).map_err(|error| error.to_string())
    }

    #[test]
    fn the_most_specific_rule_holds() {
        let accept = r#"[{"type":"insecureAcceptAnything"}]"#;
        let scopes = [
            "",
            "r.example.com",
            "r.example.com/team",
            "r.example.com/team/app",
            "r.example.com/team/app:1",
            "*.example.org",
            "docker.io/library",
            "host:5000",
        ];
        let rules: Vec<String> = scopes.iter().map(|scope| format!("\"{scope}\":{accept}")).collect();
        let text = format!(
            r#"{{"default":[{{"type":"reject"}}],"transports":{{"docker":{{{}}},"oci":{{"/a":{accept}}},"docker-daemon":{{"":{accept}}}}}}}"#,
            rules.join(",")
        );
        let policy = parse(&text).expect("a policy");
        for (reference, expected) in [
            ("r.example.com/team/app:1", "r.example.com/team/app:1"),
            ("r.example.com/team/app:2", "r.example.com/team/app"),
            ("r.example.com/team/apple:1", "r.example.com/team"),
            ("r.example.com/teams/app:1", "r.example.com"),
            ("a.b.example.org:443/x", "*.example.org"),
            ("example.org/x", "transport default"),
            ("busybox", "docker.io/library"),
            ("host:5000/x", "host:5000"),
            ("host:5001/x", "transport default"),
        ] {
            assert_eq!(policy.rule(&reference.parse().expect("reference")).name, expected, "{reference}");
        }
        let digest = crate::oci::Digest::of(b"");
        let both = format!("r.example.com/team/app:1@{digest}").parse().expect("reference");
        assert_eq!(policy.rule(&both).name, "r.example.com/team/app:1");
        assert_eq!(policy.rule_of_layout(Path::new("/a/b")).name, "/a");
        assert_eq!(policy.rule_of_layout(Path::new("/ab")).name, "default");
    }

    #[test]
    fn a_policy_that_is_not_understood_does_not_hold() {
        let key = "sigstoreSigned";
        for (text, expected) in [
            ("{}", "default"),
            (r#"{"default":[]}"#, "asks for nothing"),
            (r#"{"default":[{"type":"reject"}],"other":1}"#, "unknown field"),
            (r#"{"default":[{"type":"trust"}]}"#, "unknown variant"),
            (r#"{"default":[{"type":"reject","keyPath":"x"}]}"#, "unknown field"),
            (&format!(r#"{{"default":[{{"type":"{key}"}}]}}"#), "exactly one of"),
            (&format!(r#"{{"default":[{{"type":"{key}","keyPath":"a","keyData":"b"}}]}}"#), "exactly one of"),
            (&format!(r#"{{"default":[{{"type":"{key}","keyPath":"/k"}}]}}"#), "/k cannot be read"),
            (&format!(r#"{{"default":[{{"type":"{key}","keyData":"!"}}]}}"#), "base64"),
            (&format!(r#"{{"default":[{{"type":"{key}","keyData":"YQ=="}}]}}"#), "no PUBLIC KEY"),
            (r#"{"default":[{"type":"slsaProvenance","keyData":"YQ=="}]}"#, "missing field `builder`"),
            (r#"{"default":[{"type":"slsaProvenance","builder":""}]}"#, "builder is empty"),
            (r#"{"default":[{"type":"slsaProvenance","builder":"b"}]}"#, "exactly one of"),
            (
                r#"{"default":[{"type":"slsaProvenance","builder":"b","certificateIdentity":"a"}]}"#,
                "certificateOidcIssuer and trustedRoot",
            ),
            (
                r#"{"default":[{"type":"slsaProvenance","builder":"b","keyData":"YQ==","certificateIdentity":"a","certificateOidcIssuer":"i","trustedRoot":"/r"}]}"#,
                "give a key, or all",
            ),
            (
                r#"{"default":[{"type":"slsaProvenance","builder":"b","certificateIdentity":"a","certificateOidcIssuer":"i","trustedRoot":"/r"}]}"#,
                "/r cannot be read",
            ),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
        let openpgp = r#"{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/nothing"}]}"#;
        let policy = parse(openpgp).expect("it may stand there");
        assert!(matches!(policy.rule(&"x".parse().expect("r")).requirements, [Requirement::Unsupported(_)]));
    }
}
