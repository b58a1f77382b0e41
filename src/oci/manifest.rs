//! Manifests and indexes: what a registry answers for a reference.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Descriptor, Digest, Platform, from_json, media_type};

/// A manifest that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The bytes are no JSON of the expected shape.
    #[error("the manifest is not a valid {media_type}")]
    Malformed {
        /// The media type it was served as.
        media_type: String,
        /// Where the JSON went wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The registry served something that is not an image.
    #[error("media type `{0}` is neither an image manifest nor an image index")]
    NotAnImage(String),
    /// A digest in it is not one that we can verify.
    #[error(transparent)]
    Digest(#[from] super::DigestError),
}

/// Either form of what a reference points to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a handful are made in a build")]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Images for several platforms.
    Index(Index),
}

/// An image manifest. Source: OCI image-spec, manifest.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The manifest's own media type.
    pub media_type: String,
    /// What it is, where it is no image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The image configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// The manifest that this one tells about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Notes about the image.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image index. Source: OCI image-spec, image-index.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The index's own media type.
    pub media_type: String,
    /// The images.
    pub manifests: Vec<Descriptor>,
    /// Notes about the index.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Document {
    /// Reads the bytes that a registry served as `served_as`.
    ///
    /// The bytes' own `mediaType` counts where the two differ, since some registries answer with a general type.
    ///
    /// # Errors
    /// [`ManifestError`] when the bytes are no manifest or index.
    pub fn parse(served_as: &str, bytes: &[u8]) -> Result<Self, ManifestError> {
        let malformed = |source| ManifestError::Malformed { media_type: served_as.to_owned(), source };
        let Outline { media_type: own, manifests: _ } = from_json(bytes).map_err(malformed)?;
        match own.as_deref().unwrap_or(served_as) {
            own @ (media_type::OCI_INDEX | media_type::DOCKER_LIST) => {
                let parsed: oci_spec::image::ImageIndex = serde_json::from_slice(bytes).map_err(malformed)?;
                Ok(Self::Index(Index::from_wire(own, &parsed)?))
            }
            own @ (media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST) => {
                let parsed: oci_spec::image::ImageManifest = serde_json::from_slice(bytes).map_err(malformed)?;
                Ok(Self::Manifest(Manifest::from_wire(own, &parsed)?))
            }
            other => Err(ManifestError::NotAnImage(other.to_owned())),
        }
    }

    /// Reads bytes that nobody has given a type: an index has `manifests`.
    ///
    /// # Errors
    /// As [`Document::parse`].
    pub fn parse_alone(bytes: &[u8]) -> Result<Self, ManifestError> {
        let is_index = from_json::<Outline>(bytes).is_ok_and(|outline| outline.manifests.is_some());
        Self::parse(if is_index { media_type::OCI_INDEX } else { media_type::OCI_MANIFEST }, bytes)
    }
}

/// What a document says of its own kind.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Manifest {
    /// Returns the bytes that are pushed, and that the image's digest is of.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }

    fn from_wire(own: &str, wire: &oci_spec::image::ImageManifest) -> Result<Self, ManifestError> {
        Ok(Self {
            schema_version: 2,
            media_type: own.to_owned(),
            artifact_type: wire.artifact_type().as_ref().map(ToString::to_string),
            config: descriptor(wire.config())?,
            layers: wire.layers().iter().map(descriptor).collect::<Result<_, _>>()?,
            subject: wire.subject().as_ref().map(descriptor).transpose()?,
            annotations: annotations(wire.annotations().as_ref()),
        })
    }
}

impl Index {
    /// How many documents may lie on the way from a reference to an image's manifest, that one included.
    pub const DEEPEST: usize = 4;

    /// Returns the bytes that are pushed, and that the index's digest is of.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }

    /// Finds the image that serves `platform`; the first one, as BuildKit does, when several do.
    pub fn select(&self, platform: &Platform) -> Option<&Descriptor> {
        let serves = |d: &&Descriptor| d.platform.as_ref().is_some_and(|offered| platform.is_served_by(offered));
        self.manifests.iter().find(serves)
    }

    /// Finds what to look at next for `platform`: the image that serves it, else an index, which often has no platform
    /// of its own within another one.
    pub fn choose(&self, platform: &Platform) -> Option<&Descriptor> {
        let is_index = |d: &&Descriptor| media_type::is_index(&d.media_type);
        self.select(platform).or_else(|| self.manifests.iter().find(is_index))
    }

    /// Returns the images of which the index does not say what they are for: only their configurations do.
    pub fn unlabelled(&self) -> impl Iterator<Item = &Descriptor> {
        let is_image =
            |d: &&Descriptor| [media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST].contains(&&*d.media_type);
        self.manifests.iter().filter(|d| d.platform.is_none()).filter(is_image)
    }

    fn from_wire(own: &str, wire: &oci_spec::image::ImageIndex) -> Result<Self, ManifestError> {
        Ok(Self {
            schema_version: 2,
            media_type: own.to_owned(),
            manifests: wire.manifests().iter().map(descriptor).collect::<Result<_, _>>()?,
            annotations: annotations(wire.annotations().as_ref()),
        })
    }
}

/// Writes a document; `oci-spec`'s own types are not used for that, because their annotations are hash maps:
/// the same manifest would have other bytes, and so another digest, in each run.
fn to_bytes<T: Serialize>(document: &T) -> Vec<u8> {
    serde_json::to_vec(document).expect("a manifest of strings and numbers always serializes")
}

fn descriptor(wire: &oci_spec::image::Descriptor) -> Result<Descriptor, ManifestError> {
    let platform = wire.platform().as_ref().map(|p| Platform {
        architecture: p.architecture().to_string(),
        os: p.os().to_string(),
        os_version: p.os_version().clone(),
        os_features: p.os_features().clone().unwrap_or_default(),
        variant: p.variant().clone(),
    });
    Ok(Descriptor {
        media_type: wire.media_type().to_string(),
        digest: wire.digest().to_string().parse::<Digest>()?,
        size: wire.size(),
        annotations: annotations(wire.annotations().as_ref()),
        platform,
        urls: wire.urls().clone().unwrap_or_default(),
        artifact_type: wire.artifact_type().as_ref().map(ToString::to_string),
    })
}

fn annotations(wire: Option<&std::collections::HashMap<String, String>>) -> BTreeMap<String, String> {
    wire.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    #[test]
    fn a_manifest_has_the_same_bytes_after_a_round_trip() {
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::OCI_MANIFEST.to_owned(),
            artifact_type: Some("application/vnd.example.thing".to_owned()),
            config: Descriptor::new(media_type::OCI_CONFIG, some_digest("c"), 1),
            layers: vec![Descriptor::new(media_type::OCI_LAYER_GZIP, some_digest("l"), 2)],
            subject: Some(Descriptor::new(media_type::OCI_MANIFEST, some_digest("s"), 3)),
            annotations: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
        };
        let bytes = manifest.to_bytes();
        let back = Document::parse(media_type::OCI_MANIFEST, &bytes).expect("parses");
        assert_eq!(back, Document::Manifest(manifest.clone()));
        assert_eq!(manifest.to_bytes(), bytes);
    }

    #[test]
    fn the_image_for_a_platform_is_found_in_a_docker_list() {
        let list = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[
            {{"mediaType":"{m}","digest":"{}","size":1,"platform":{{"os":"linux","architecture":"arm","variant":"v7"}}}},
            {{"mediaType":"{m}","digest":"{}","size":1,"platform":{{"os":"linux","architecture":"arm64","variant":"v8"}}}}]}}"#,
            media_type::DOCKER_LIST,
            some_digest("arm"),
            some_digest("arm64"),
            m = media_type::DOCKER_MANIFEST
        );
        let Document::Index(index) = Document::parse("application/json", list.as_bytes()).expect("parses") else {
            panic!("not an index");
        };
        let chosen = |text: &str| index.select(&text.parse().expect(text)).map(|d| d.digest.clone());
        assert_eq!(chosen("linux/arm64"), Some(some_digest("arm64")));
        assert_eq!(chosen("linux/arm"), Some(some_digest("arm")));
        assert_eq!(chosen("linux/amd64"), None);
    }

    #[test]
    fn what_is_no_image_is_refused_by_its_media_type() {
        let error = Document::parse("application/vnd.example+json", b"{}").expect_err("not an image");
        assert!(error.to_string().contains("application/vnd.example+json"));
    }
}
