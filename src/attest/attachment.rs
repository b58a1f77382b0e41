//! The manifests by which registries, layouts and archives keep documents about an image.
//!
//! Source: OCI image-spec, manifest.md, "Guidelines for Artifact Usage";
//! <https://github.com/moby/buildkit/blob/master/docs/attestations/attestation-storage.md>.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use super::{IN_TOTO, PREDICATE_TYPE, Statement};
use crate::oci::{Descriptor, Digest, Manifest, Platform, media_type};

/// Content that says nothing.
const EMPTY: &[u8] = b"{}";
const UNKNOWN: &str = "unknown";
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
const ATTESTATION_MANIFEST: &str = "attestation-manifest";

/// Returns the image that the documents are about whose manifest an index names here; none where it names an image.
pub fn attested(descriptor: &Descriptor) -> Option<Digest> {
    let annotation = |key: &str| descriptor.annotations.get(key);
    let is_attestation = annotation(REFERENCE_TYPE).is_some_and(|kind| kind == ATTESTATION_MANIFEST);
    annotation(REFERENCE_DIGEST).filter(|_| is_attestation)?.parse().ok()
}

/// One document about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// What it is, for those who look for it.
    pub artifact_type: String,
    /// What its bytes are.
    pub media_type: String,
    /// Its bytes.
    pub content: Bytes,
    /// What tells more of it without reading it.
    pub annotations: BTreeMap<String, String>,
}

impl Artifact {
    /// Makes a document of a statement that is not signed.
    pub fn of(statement: &Statement) -> Self {
        Self {
            artifact_type: IN_TOTO.to_owned(),
            media_type: IN_TOTO.to_owned(),
            content: statement.to_bytes(),
            annotations: [(PREDICATE_TYPE.to_owned(), statement.predicate_type.clone())].into(),
        }
    }
}

/// Documents that go where an image goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The image.
    pub subject: Descriptor,
    /// What is said about it.
    pub artifacts: Vec<Artifact>,
    /// How one finds them.
    pub kind: Kind,
}

/// How one finds documents when one has the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The registry lists what refers to the image.
    Referrer,
    /// They stand beside the image in an index, as BuildKit puts them.
    InIndex,
}

/// What the manifest of an attachment looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An artifact: it names its subject and its type.
    Artifact,
    /// An image that cannot be run, which also those registries take that know no artifacts.
    Image,
}

/// The manifest of an attachment, with all that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// What points to the manifest.
    pub descriptor: Descriptor,
    /// The manifest's bytes.
    pub manifest: Bytes,
    /// The configuration, then the documents.
    pub blobs: Vec<(Descriptor, Bytes)>,
}

impl Attachment {
    /// Makes one of a document that refers to an image, or to an index of images.
    pub fn referrer(artifact: Artifact, subject: &Descriptor) -> Self {
        Self { subject: bare(subject), artifacts: vec![artifact], kind: Kind::Referrer }
    }

    /// Makes one of documents that stand beside their image in an index.
    pub fn in_index(artifacts: Vec<Artifact>, subject: &Descriptor) -> Self {
        Self { subject: bare(subject), artifacts, kind: Kind::InIndex }
    }

    /// Returns the form that is tried first.
    pub fn form(&self) -> Form {
        match self.kind {
            Kind::Referrer => Form::Artifact,
            Kind::InIndex => Form::Image,
        }
    }

    /// Writes the manifest.
    pub fn write(&self, form: Form) -> Written {
        let documents: Vec<(Descriptor, Bytes)> = self.artifacts.iter().map(layer).collect();
        let config = match form {
            Form::Artifact => (media_type::OCI_EMPTY, Bytes::from_static(EMPTY)),
            Form::Image => (media_type::OCI_CONFIG, config(&documents)),
        };
        let config = (Descriptor::of(config.0, &config.1), config.1);
        let only = match &*self.artifacts {
            [only] => Some(only),
            _ => None,
        };
        let artifact_type = only.map(|artifact| artifact.artifact_type.clone());
        let annotations = match self.kind {
            Kind::Referrer => only.map(|artifact| artifact.annotations.clone()).unwrap_or_default(),
            Kind::InIndex => BTreeMap::new(),
        };
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::OCI_MANIFEST.to_owned(),
            artifact_type: artifact_type.clone().filter(|_| form == Form::Artifact),
            config: config.0.clone(),
            layers: documents.iter().map(|(descriptor, _)| descriptor.clone()).collect(),
            subject: (form == Form::Artifact).then(|| self.subject.clone()),
            annotations: annotations.clone(),
        };
        let bytes = Bytes::from(manifest.to_bytes());
        let descriptor = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
        let descriptor = match self.kind {
            Kind::Referrer => Descriptor { artifact_type, annotations, ..descriptor },
            Kind::InIndex => self.beside(descriptor),
        };
        Written { descriptor, manifest: bytes, blobs: [config].into_iter().chain(documents).collect() }
    }

    /// Returns what stands in the index: no runtime takes it for an image, and readers find its image.
    fn beside(&self, descriptor: Descriptor) -> Descriptor {
        let platform = Platform {
            os: UNKNOWN.to_owned(),
            architecture: UNKNOWN.to_owned(),
            os_version: None,
            os_features: Vec::new(),
            variant: None,
        };
        let annotations = [(REFERENCE_DIGEST, self.subject.digest.as_str()), (REFERENCE_TYPE, ATTESTATION_MANIFEST)];
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Descriptor { platform: Some(platform), annotations: annotations.into(), ..descriptor }
    }
}

/// What a subject is: neither its platform nor its notes belong there.
fn bare(subject: &Descriptor) -> Descriptor {
    Descriptor::new(&subject.media_type, subject.digest.clone(), subject.size)
}

fn layer(artifact: &Artifact) -> (Descriptor, Bytes) {
    let mut descriptor = Descriptor::of(&artifact.media_type, &artifact.content);
    descriptor.annotations.clone_from(&artifact.annotations);
    (descriptor, artifact.content.clone())
}

/// Writes the configuration of an image that is none.
fn config(documents: &[(Descriptor, Bytes)]) -> Bytes {
    #[derive(Serialize)]
    struct RootFs<'a> {
        r#type: &'static str,
        diff_ids: Vec<&'a Digest>,
    }
    #[derive(Serialize)]
    struct Config<'a> {
        architecture: &'static str,
        os: &'static str,
        config: BTreeMap<String, String>,
        rootfs: RootFs<'a>,
    }
    let diff_ids = documents.iter().map(|(descriptor, _)| &descriptor.digest).collect();
    let rootfs = RootFs { r#type: "layers", diff_ids };
    let config = Config { architecture: UNKNOWN, os: UNKNOWN, config: BTreeMap::new(), rootfs };
    Bytes::from(serde_json::to_vec(&config).expect("texts always serialize"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn artifact() -> Artifact {
        let statement = Statement::new(Vec::new(), "https://example.com/p", &json!({})).expect("is JSON");
        Artifact::of(&statement)
    }

    fn subject() -> Descriptor {
        let mut subject = Descriptor::of(media_type::OCI_MANIFEST, b"image");
        subject.platform = Some("linux/arm64".parse().expect("platform"));
        subject
    }

    #[test]
    fn a_referrer_names_its_subject_and_its_type() {
        let written = Attachment::referrer(artifact(), &subject()).write(Form::Artifact);
        let manifest: Value = serde_json::from_slice(&written.manifest).expect("is JSON");
        assert_eq!(manifest["artifactType"], IN_TOTO);
        assert_eq!(manifest["subject"]["digest"], Digest::of(b"image").as_str());
        assert_eq!(manifest["subject"]["platform"], Value::Null);
        assert_eq!(manifest["config"]["mediaType"], media_type::OCI_EMPTY);
        assert_eq!(manifest["annotations"][PREDICATE_TYPE], "https://example.com/p");
        assert_eq!(written.descriptor.artifact_type.as_deref(), Some(IN_TOTO));
        assert_eq!(written.blobs.iter().map(|(_, bytes)| &bytes[..]).next(), Some(EMPTY));
    }

    #[test]
    fn where_artifacts_are_refused_it_is_an_image_that_is_found_in_the_same_way() {
        let attachment = Attachment::referrer(artifact(), &subject());
        let written = attachment.write(Form::Image);
        let manifest: Value = serde_json::from_slice(&written.manifest).expect("is JSON");
        assert_eq!((&manifest["artifactType"], &manifest["subject"]), (&Value::Null, &Value::Null));
        assert_eq!(manifest["config"]["mediaType"], media_type::OCI_CONFIG);
        let (image, artifact) = (written.descriptor, attachment.write(Form::Artifact).descriptor);
        assert_eq!((&image.artifact_type, &image.annotations), (&artifact.artifact_type, &artifact.annotations));
    }

    #[test]
    fn in_an_index_it_is_for_no_platform_and_names_its_image() {
        let written = Attachment::in_index(vec![artifact(), artifact()], &subject()).write(Form::Image);
        let descriptor = serde_json::to_value(&written.descriptor).expect("is JSON");
        assert_eq!(descriptor["platform"], json!({"architecture": "unknown", "os": "unknown"}));
        assert_eq!(descriptor["annotations"]["vnd.docker.reference.type"], "attestation-manifest");
        assert_eq!(descriptor["annotations"]["vnd.docker.reference.digest"], Digest::of(b"image").as_str());
        assert_eq!((attested(&written.descriptor), attested(&subject())), (Some(Digest::of(b"image")), None));
        let manifest: Value = serde_json::from_slice(&written.manifest).expect("is JSON");
        assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(2));
        assert_eq!(manifest["layers"][0]["annotations"][PREDICATE_TYPE], "https://example.com/p");
        let config: Value = serde_json::from_slice(&written.blobs[0].1).expect("is JSON");
        assert_eq!(config["rootfs"]["diff_ids"][1], manifest["layers"][1]["digest"]);
    }
}
