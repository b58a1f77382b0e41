//! The values of result files, as text.

use serde_json::json;

use crate::oci::{DEFAULT_REGISTRY, Digest, Reference};
use crate::outcome::{Attested, BaseUsed, BuildOutcome, IndexOutcome, PushOutcome, SourceUsed};
use crate::request::{NamedDestination, ResultFiles, ResultValue};

/// What result files tell, of an image or of an index.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The digest of the manifest or index.
    pub digest: &'a Digest,
    /// The digest of the configuration; an index has none.
    pub config: Option<&'a Digest>,
    /// How many bytes a pull of it fetches; none where that is not known.
    pub size: Option<u64>,
    /// Where it was pushed to.
    pub pushed: &'a [Reference],
    /// Which of these results of one value name, where it is not the first by its full name.
    pub named: Option<&'a NamedDestination>,
    /// What it was made from, what it is based on first; none where that is not known.
    pub bases: Option<&'a [BaseUsed]>,
    /// The commit it was made from.
    pub source: Option<&'a SourceUsed>,
    /// What was said about it.
    pub attested: &'a [Attested],
}

impl<'a> From<&'a BuildOutcome> for Facts<'a> {
    fn from(outcome: &'a BuildOutcome) -> Self {
        Self {
            digest: &outcome.manifest.digest,
            config: outcome.images.is_empty().then_some(&outcome.config.digest),
            size: Some(outcome.size),
            pushed: &outcome.pushed,
            named: None,
            bases: Some(&outcome.bases),
            source: outcome.source.as_ref(),
            attested: &outcome.attested,
        }
    }
}

impl<'a> From<&'a IndexOutcome> for Facts<'a> {
    fn from(outcome: &'a IndexOutcome) -> Self {
        Self::pushed(&outcome.index.digest, &outcome.pushed)
    }
}

impl<'a> From<&'a PushOutcome> for Facts<'a> {
    fn from(outcome: &'a PushOutcome) -> Self {
        Self::pushed(&outcome.image.digest, &outcome.pushed)
    }
}

impl<'a> Facts<'a> {
    /// Makes facts of something of which no more is known.
    fn pushed(digest: &'a Digest, pushed: &'a [Reference]) -> Self {
        Self { digest, config: None, size: None, pushed, named: None, bases: None, source: None, attested: &[] }
    }

    /// Adds which destination results of one value name.
    pub(super) fn naming(self, results: &'a ResultFiles) -> Self {
        let named = results.named.as_ref().filter(|named| self.pushed.contains(&named.reference));
        Self { named, ..self }
    }

    /// Returns a value; none where there is nothing to tell: no name without a push, no commit without Git.
    pub fn value(&self, value: ResultValue) -> Option<String> {
        let digest = self.digest;
        let first = self.named.map(|named| &named.reference).or(self.pushed.first());
        match value {
            ResultValue::Digest => Some(digest.to_string()),
            ResultValue::ImageId => Some(self.config.unwrap_or(digest).to_string()),
            ResultValue::Url => self.named.map(|named| named.text.clone()).or(first.map(Reference::to_string)),
            ResultValue::Reference => first.map(|reference| format!("{}@{digest}", reference.name())),
            ResultValue::Images => first.map(|_| self.images().join("\n")),
            ResultValue::BaseImages => self.bases.map(|bases| base_images(bases).join("\n")),
            ResultValue::Size => self.size.map(|size| size.to_string()),
            ResultValue::ArtifactOutput => first.map(|reference| {
                json!({ "uri": reference.name(), "digest": digest, "isBuildArtifact": "true" }).to_string()
            }),
            ResultValue::ArtifactInput(number) => self.bases.and_then(|bases| bases.get(number)).map(artifact_input),
            ResultValue::Attestations => first.filter(|_| !self.attested.is_empty()).map(|first| self.attested(first)),
            ResultValue::ErrorKind | ResultValue::ErrorReason | ResultValue::ErrorMessage => None,
            ResultValue::GitUrl => self.source.map(|source| source.url.clone()),
            ResultValue::GitCommit => self.source.map(|source| source.commit.clone()),
            ResultValue::KanikoNames => Some(self.lines(|reference| format!("{}@{digest}\n", kaniko_name(reference)))),
            ResultValue::KanikoTags => Some(self.lines(|reference| {
                let tag = reference.tag.as_deref().unwrap_or_default();
                format!("{}:{tag}@{digest}\n", kaniko_name(reference))
            })),
        }
    }

    fn attested(&self, at: &Reference) -> String {
        let name = |one: &Attested| format!("{}@{}", at.name(), one.manifest.digest);
        self.attested.iter().map(name).collect::<Vec<_>>().join("\n")
    }

    /// Returns every destination with its digest.
    pub(super) fn images(&self) -> Vec<String> {
        self.pushed.iter().map(|reference| format!("{reference}@{}", self.digest)).collect()
    }

    fn lines(&self, line: impl Fn(&Reference) -> String) -> String {
        self.pushed.iter().map(line).collect()
    }
}

fn base_images(bases: &[BaseUsed]) -> Vec<String> {
    let name = |base: &BaseUsed| Reference { digest: Some(base.digest.clone()), ..base.name.clone() }.to_string();
    bases.iter().map(name).collect()
}

/// Returns an image as Chains names those that steps ran in.
fn artifact_input(base: &BaseUsed) -> String {
    json!({ "uri": format!("oci://{}", base.name.name()), "digest": base.digest }).to_string()
}

/// Returns `registry/repository` as kaniko writes it, with its old name for Docker Hub.
pub(super) fn kaniko_name(reference: &Reference) -> String {
    match reference.registry.as_str() {
        DEFAULT_REGISTRY => format!("index.docker.io/{}", reference.repository),
        _ => reference.name(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Facts that a test can own.
    pub(in super::super) struct Owned {
        pub(in super::super) digest: Digest,
        pub(in super::super) pushed: Vec<Reference>,
        pub(in super::super) bases: Vec<BaseUsed>,
        pub(in super::super) source: Option<SourceUsed>,
    }

    impl Owned {
        pub(in super::super) fn new(pushed: &[&str]) -> Self {
            let digest = Digest::of(b"manifest");
            let name: Reference = "registry.example.com/base/debian:12".parse().expect("reference");
            Self {
                pushed: pushed.iter().map(|text| text.parse().expect("reference")).collect(),
                bases: vec![BaseUsed { name, digest: Digest::of(b"base") }],
                source: Some(SourceUsed { url: "https://git.example.com/app.git".into(), commit: "a1".repeat(20) }),
                digest,
            }
        }

        pub(in super::super) fn facts(&self) -> Facts<'_> {
            Facts {
                digest: &self.digest,
                config: Some(&self.digest),
                size: Some(12345),
                pushed: &self.pushed,
                named: None,
                bases: Some(&self.bases),
                source: self.source.as_ref(),
                attested: &[],
            }
        }
    }

    #[test]
    fn each_value_has_its_form_and_no_newline_at_its_end() {
        let owned = Owned::new(&["registry.example.com/team/app:1", "busybox"]);
        let (facts, digest, base) = (owned.facts(), Digest::of(b"manifest"), Digest::of(b"base"));
        let rows = [
            (ResultValue::Digest, digest.to_string()),
            (ResultValue::Url, "registry.example.com/team/app:1".to_owned()),
            (ResultValue::Reference, format!("registry.example.com/team/app@{digest}")),
            (
                ResultValue::Images,
                format!("registry.example.com/team/app:1@{digest}\ndocker.io/library/busybox:latest@{digest}"),
            ),
            (ResultValue::BaseImages, format!("registry.example.com/base/debian:12@{base}")),
            (
                ResultValue::ArtifactOutput,
                format!(r#"{{"uri":"registry.example.com/team/app","digest":"{digest}","isBuildArtifact":"true"}}"#),
            ),
            (
                ResultValue::ArtifactInput(0),
                format!(r#"{{"uri":"oci://registry.example.com/base/debian","digest":"{base}"}}"#),
            ),
            (ResultValue::Size, "12345".to_owned()),
            (ResultValue::GitUrl, "https://git.example.com/app.git".to_owned()),
            (ResultValue::GitCommit, "a1".repeat(20)),
            (
                ResultValue::KanikoNames,
                format!("registry.example.com/team/app@{digest}\nindex.docker.io/library/busybox@{digest}\n"),
            ),
            (
                ResultValue::KanikoTags,
                format!("registry.example.com/team/app:1@{digest}\nindex.docker.io/library/busybox:latest@{digest}\n"),
            ),
        ];
        for (value, expected) in rows {
            assert_eq!(facts.value(value), Some(expected), "{value:?}");
        }
    }

    #[test]
    fn the_destination_that_is_named_is_told_as_it_was_given() {
        let owned = Owned::new(&["registry.example.com/team/app:1", "busybox"]);
        let named = |text: &str| ResultFiles {
            named: Some(NamedDestination { text: text.to_owned(), reference: text.parse().expect("reference") }),
            ..ResultFiles::default()
        };
        let digest = &owned.digest;
        let rows = [
            ("busybox", "busybox", "docker.io/library/busybox"),
            ("registry.example.com/team/app:1", "registry.example.com/team/app:1", "registry.example.com/team/app"),
            // What was not pushed is not told.
            ("registry.example.com/other", "registry.example.com/team/app:1", "registry.example.com/team/app"),
        ];
        for (text, url, name) in rows {
            let results = named(text);
            let facts = owned.facts().naming(&results);
            assert_eq!(facts.value(ResultValue::Url).as_deref(), Some(url));
            assert_eq!(facts.value(ResultValue::Reference), Some(format!("{name}@{digest}")));
        }
    }

    #[test]
    fn without_a_push_there_is_no_name_and_without_git_no_commit() {
        let mut owned = Owned::new(&[]);
        owned.source = None;
        for value in
            [ResultValue::Url, ResultValue::Reference, ResultValue::Images, ResultValue::GitUrl, ResultValue::GitCommit]
        {
            assert_eq!(owned.facts().value(value), None, "{value:?}");
        }
        assert!(owned.facts().value(ResultValue::Digest).is_some());
    }
}
