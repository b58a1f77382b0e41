//! What an image is: its documents, its settings, and its layers with the instructions that made them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::claims::{self, Found};
use super::{Error, Source};
use crate::attest::attested;
use crate::http::redact_within;
use crate::oci::{
    ContainerConfig, Descriptor, Digest, Document, ImageConfig, Index, LARGEST_DOCUMENT, Manifest, Platform, from_json,
    media_type,
};
use crate::signing::Trust;

/// How many images of an index are read: each costs two requests at least.
const MOST_IMAGES: usize = 256;
/// Source: OCI image-spec, annotations.md.
const BASE_NAME: &str = "org.opencontainers.image.base.name";
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// What a name leads to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspected {
    /// The name.
    pub name: String,
    /// The digest of the manifest or index.
    pub digest: Digest,
    /// What that is.
    pub media_type: String,
    /// The annotations of the index.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What is said about the index itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<Found>,
    /// The images; one where the name leads to it.
    pub images: Vec<ImageFacts>,
}

/// What an image is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageFacts {
    /// What it is for.
    pub platform: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// What the manifest is.
    pub media_type: String,
    /// When it was made, RFC 3339.
    pub created: Option<String>,
    /// Its annotations, those of its descriptor in an index among them.
    pub annotations: BTreeMap<String, String>,
    /// The image it is based on, if it says so: by name and digest.
    pub base: Option<Base>,
    /// The digest of its configuration.
    pub config_digest: Digest,
    /// What a container of it runs, and how.
    pub config: Settings,
    /// The size of all layers as they are kept, in bytes.
    pub size: u64,
    /// Its history, oldest first.
    pub layers: Vec<Layer>,
    /// What is said about it.
    #[serde(flatten)]
    pub found: Found,
}

/// The image that another one is based on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Base {
    /// Its name.
    pub name: Option<String>,
    /// Its digest.
    pub digest: Option<String>,
}

/// What a container runs, and how. Variables are named, and their values left out: they may be secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// ENTRYPOINT.
    pub entrypoint: Option<Vec<String>>,
    /// CMD.
    pub cmd: Option<Vec<String>>,
    /// The names of ENV.
    pub env: Vec<String>,
    /// USER.
    pub user: String,
    /// WORKDIR.
    pub workdir: String,
    /// EXPOSE.
    pub ports: Vec<String>,
    /// VOLUME.
    pub volumes: Vec<String>,
    /// LABEL.
    pub labels: BTreeMap<String, String>,
}

/// A line of history, and the layer that it made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// The blob's digest; none of a line that made no layer.
    pub digest: Option<Digest>,
    /// The digest of the uncompressed layer.
    pub diff_id: Option<Digest>,
    /// What the blob is.
    pub media_type: Option<String>,
    /// The blob's size in bytes.
    pub size: Option<u64>,
    /// The instruction.
    pub created_by: Option<String>,
    /// When, RFC 3339.
    pub created: Option<String>,
}

/// An image with its documents.
#[derive(Clone, Debug)]
pub struct Side {
    /// What points to its manifest.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration.
    pub config: ImageConfig,
}

/// What a name leads to, with the documents of all images.
pub(super) struct Opened {
    pub(super) root: Descriptor,
    pub(super) index: Option<Index>,
    pub(super) images: Vec<Side>,
    /// Manifests of documents about images, each with its image.
    pub(super) beside: Vec<(Digest, Descriptor)>,
}

/// Tells what a name leads to; of an index the images for one platform only where it is given. Signatures are checked
/// where it is known who must have signed.
///
/// # Errors
/// [`Error`] when something cannot be read, or is not what it should be. What is said about an image may be malformed:
/// that is told, and is no error.
pub async fn inspect(source: &Source, platform: Option<&Platform>, trust: Option<&Trust>) -> Result<Inspected, Error> {
    let Opened { root, index, images, beside } = open(source, platform).await?;
    let mut facts = Vec::new();
    for image in &images {
        let digest = &image.descriptor.digest;
        let own: Vec<&Descriptor> = beside.iter().filter(|(of, _)| of == digest).map(|(_, one)| one).collect();
        let found = claims::find(source, digest, &own, trust).await?;
        facts.push(facts_of(image, found).map_err(|reason| source.unfit(reason))?);
    }
    let of_index = match index {
        Some(_) => Some(claims::find(source, &root.digest, &[], trust).await?),
        None => None,
    };
    Ok(Inspected {
        name: source.name(),
        digest: root.digest,
        media_type: root.media_type,
        annotations: index.map(|index| index.annotations).unwrap_or_default(),
        index: of_index,
        images: facts,
    })
}

/// Reads the documents of all images that a name leads to, or of those for one platform.
pub(super) async fn open(source: &Source, platform: Option<&Platform>) -> Result<Opened, Error> {
    let (root, document) = source.root().await?;
    let mut opened = Opened { root: root.clone(), index: None, images: Vec::new(), beside: Vec::new() };
    let mut pending = vec![(root, document, 0)];
    while let Some((descriptor, document, depth)) = pending.pop() {
        let index = match document {
            Document::Manifest(manifest) => {
                opened.images.push(image(source, descriptor, manifest).await?);
                continue;
            }
            Document::Index(index) => index,
        };
        if depth >= Index::DEEPEST || opened.images.len() + index.manifests.len() > MOST_IMAGES {
            let reason =
                format!("its indexes are more than {} deep, or have more than {MOST_IMAGES} images", Index::DEEPEST);
            return Err(source.unfit(reason));
        }
        // The last one is read first.
        for part in index.manifests.iter().rev() {
            if let Some(of) = attested(part) {
                opened.beside.push((of, part.clone()));
                continue;
            }
            let is_other = |platform: &Platform| part.platform.as_ref().is_some_and(|own| !platform.is_served_by(own));
            let is_index = media_type::is_index(&part.media_type);
            if part.artifact_type.is_none() && (is_index || !platform.is_some_and(is_other)) {
                pending.push((part.clone(), source.document(part).await?, depth + 1));
            }
        }
        opened.index.get_or_insert(index);
    }
    if let Some(platform) = platform {
        let offered: Vec<String> = match &opened.index {
            Some(index) => index
                .manifests
                .iter()
                .filter(|one| attested(one).is_none())
                .filter_map(|one| Some(one.platform.as_ref()?.to_string()))
                .collect(),
            None => opened.images.iter().map(|image| image.config.platform.to_string()).collect(),
        };
        opened.images.retain(|image| platform.is_served_by(&image.config.platform));
        if opened.images.is_empty() {
            let (wanted, offered) = (platform.to_string(), offered.join(", "));
            return Err(Error::Platform { name: source.name(), wanted, offered });
        }
    }
    if opened.images.is_empty() {
        return Err(source.unfit("its index has no image"));
    }
    Ok(opened)
}

async fn image(source: &Source, descriptor: Descriptor, manifest: Manifest) -> Result<Side, Error> {
    let bytes = source.blob(&manifest.config, LARGEST_DOCUMENT).await?;
    let config: Result<ImageConfig, _> = from_json(&bytes);
    let digest = manifest.config.digest.clone();
    let mut config = config.map_err(|error| Error::Config { name: source.name(), digest, source: error })?;
    config.match_history();
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        let (layers, ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        return Err(source.unfit(format!("it has {layers} layers, and its configuration names {ids}")));
    }
    Ok(Side { descriptor, manifest, config })
}

fn facts_of(image: &Side, found: Found) -> Result<ImageFacts, String> {
    let Side { descriptor, manifest, config } = image;
    let annotations: BTreeMap<String, String> = descriptor
        .annotations
        .iter()
        .chain(&manifest.annotations)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let (name, digest) = (annotations.get(BASE_NAME).cloned(), annotations.get(BASE_DIGEST).cloned());
    let base = (name.is_some() || digest.is_some()).then_some(Base { name, digest });
    let sizes = manifest.layers.iter().try_fold(0_u64, |sum, layer| sum.checked_add(layer.size));
    Ok(ImageFacts {
        platform: config.platform.to_string(),
        digest: descriptor.digest.clone(),
        media_type: descriptor.media_type.clone(),
        created: config.created.clone(),
        annotations,
        base,
        config_digest: manifest.config.digest.clone(),
        config: settings(&config.config),
        size: sizes.ok_or("its layers have impossible sizes")?,
        layers: layers(image),
        found,
    })
}

fn settings(config: &ContainerConfig) -> Settings {
    let name = |variable: &String| variable.split('=').next().unwrap_or_default().to_owned();
    Settings {
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        env: config.env.iter().map(name).collect(),
        user: config.user.clone(),
        workdir: config.working_dir.clone(),
        ports: config.exposed_ports.keys().cloned().collect(),
        volumes: config.volumes.keys().cloned().collect(),
        labels: config.labels.clone(),
    }
}

fn layers(image: &Side) -> Vec<Layer> {
    let mut blobs = image.manifest.layers.iter().zip(&image.config.rootfs.diff_ids);
    let line = |line: &crate::oci::History| {
        let made = if line.empty_layer { None } else { blobs.next() };
        Layer {
            digest: made.map(|(blob, _)| blob.digest.clone()),
            diff_id: made.map(|(_, id)| id.0.clone()),
            media_type: made.map(|(blob, _)| blob.media_type.clone()),
            size: made.map(|(blob, _)| blob.size),
            created_by: line.created_by.as_deref().map(redact_within),
            created: line.created.clone(),
        }
    };
    image.config.history.iter().map(line).collect()
}
