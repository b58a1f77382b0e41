//! The values of result files, as text.

use crate::oci::{DEFAULT_REGISTRY, Digest, Reference};
use crate::outcome::{BaseUsed, BuildOutcome, IndexOutcome, PushOutcome, SourceUsed};
use crate::request::ResultValue;

/// What result files tell, of an image or of an index.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The digest of the manifest or index.
    pub digest: &'a Digest,
    /// The digest of the configuration; an index has none.
    pub config: Option<&'a Digest>,
    /// Where it was pushed to.
    pub pushed: &'a [Reference],
    /// What it was made from.
    pub bases: &'a [BaseUsed],
    /// The commit it was made from.
    pub source: Option<&'a SourceUsed>,
}

impl<'a> From<&'a BuildOutcome> for Facts<'a> {
    fn from(outcome: &'a BuildOutcome) -> Self {
        Self {
            digest: &outcome.manifest.digest,
            config: Some(&outcome.config.digest),
            pushed: &outcome.pushed,
            bases: &outcome.bases,
            source: outcome.context.as_ref().and_then(|context| context.source.as_ref()),
        }
    }
}

impl<'a> From<&'a IndexOutcome> for Facts<'a> {
    fn from(outcome: &'a IndexOutcome) -> Self {
        Self { digest: &outcome.index.digest, config: None, pushed: &outcome.pushed, bases: &[], source: None }
    }
}

impl<'a> From<&'a PushOutcome> for Facts<'a> {
    fn from(outcome: &'a PushOutcome) -> Self {
        Self { digest: &outcome.image.digest, config: None, pushed: &outcome.pushed, bases: &[], source: None }
    }
}

impl Facts<'_> {
    /// Returns a value; none where there is nothing to tell: no name without a push, no commit without Git.
    pub fn value(&self, value: ResultValue) -> Option<String> {
        let digest = self.digest;
        let first = self.pushed.first();
        match value {
            ResultValue::Digest => Some(digest.to_string()),
            ResultValue::Url => first.map(Reference::to_string),
            ResultValue::Reference => first.map(|reference| format!("{}@{digest}", reference.name())),
            ResultValue::Images => first.map(|_| self.images().join("\n")),
            ResultValue::BaseImages => Some(self.base_images().join("\n")),
            ResultValue::GitUrl => self.source.map(|source| source.url.clone()),
            ResultValue::GitCommit => self.source.map(|source| source.commit.clone()),
            ResultValue::KanikoNames => Some(self.lines(|reference| format!("{}@{digest}\n", kaniko_name(reference)))),
            ResultValue::KanikoTags => Some(self.lines(|reference| {
                let tag = reference.tag.as_deref().unwrap_or_default();
                format!("{}:{tag}@{digest}\n", kaniko_name(reference))
            })),
        }
    }

    /// Returns every destination with its digest.
    pub(super) fn images(&self) -> Vec<String> {
        self.pushed.iter().map(|reference| format!("{reference}@{}", self.digest)).collect()
    }

    fn base_images(&self) -> Vec<String> {
        let name = |base: &BaseUsed| Reference { digest: Some(base.digest.clone()), ..base.name.clone() }.to_string();
        self.bases.iter().map(name).collect()
    }

    fn lines(&self, line: impl Fn(&Reference) -> String) -> String {
        self.pushed.iter().map(line).collect()
    }
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
                pushed: &self.pushed,
                bases: &self.bases,
                source: self.source.as_ref(),
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
