//! Joining: images of several platforms become one index.
//!
//! Each image is named by the digest that its reference had when the index was made. Images of other
//! repositories are brought into those of the index, since an index can only point to its own repository; what is said
//! about them goes with them: what stands beside an image in an index stands beside it in the new one, and what refers to it
//! refers to it there.
//!
//! *Invariant: the same images make the same bytes, in whatever order they are given, and no platform has two.*

use std::collections::BTreeMap;

use bytes::Bytes;

use super::upload::point;
use super::{Error, check_push};
use crate::attest::{Written, attested};
use crate::oci::{Descriptor, Document, Index, Manifest, Platform, Reference, media_type};
use crate::outcome::IndexOutcome;
use crate::progress::Reporter;
use crate::registry::{Client, Resolved};
use crate::request::{IndexFormat, IndexRequest};

/// An image that becomes a part of the index.
struct Part {
    from: Reference,
    image: Copied,
    /// The manifests that stand beside it in an index: documents about it.
    beside: Vec<Copied>,
}

/// A manifest that is the same in another repository.
struct Copied {
    descriptor: Descriptor,
    manifest: Manifest,
    bytes: Bytes,
}

/// Joins the images and pushes the index to every destination.
///
/// # Errors
/// [`Error`] when an image is not there, is an index of several or has another's platform, and when a registry refuses.
pub async fn join(request: &IndexRequest, client: &Client, reporter: &dyn Reporter) -> Result<IndexOutcome, Error> {
    // The images were pushed, as the index will be: an older one at a mirror is not what is meant.
    let client = &client.direct();
    if request.check_push {
        check_push(client, &request.destinations).await?;
    }
    let mut parts: Vec<Part> = Vec::new();
    for reference in &request.images {
        let part = part(reference, client).await?;
        // One image by two names is one image.
        match parts.iter_mut().find(|known| known.image.descriptor.digest == part.image.descriptor.digest) {
            Some(known) if known.beside.is_empty() => known.beside = part.beside,
            Some(_) => {}
            None => parts.push(part),
        }
    }
    parts.sort_by_key(order);
    let index = index(&parts, request)?;
    let bytes = Bytes::from(index.to_bytes());
    for destination in &request.destinations {
        for part in parts.iter().filter(|part| part.from.name() != destination.name()) {
            copy(part, destination, client, reporter).await?;
        }
    }
    point(&request.destinations, async |destination| {
        Ok(client.push_manifest(destination, &index.media_type, bytes.clone()).await.map(drop)?)
    })
    .await?;
    Ok(IndexOutcome {
        index: Descriptor::of(&index.media_type, &bytes),
        images: parts.iter().map(|part| described(part, request)).collect(),
        pushed: request.destinations.clone(),
    })
}

/// An index that is made and not delivered.
#[derive(Clone, Debug)]
pub struct Joined {
    /// What a reference to it points to.
    pub index: Descriptor,
    /// Its bytes.
    pub bytes: Bytes,
    /// Its images, each with its platform, in the order of the index.
    pub images: Vec<Descriptor>,
    /// What refers to it or to its images, and does not stand in it.
    pub referrers: Vec<Descriptor>,
}

/// Makes the index of images that were built for several platforms; each has its own. Behind them stands what is said
/// about them, where that is to be `beside` them.
pub fn of_platforms(mut images: Vec<Descriptor>, beside: Vec<Descriptor>, referrers: Vec<Descriptor>) -> Joined {
    let name = |image: &Descriptor| image.platform.as_ref().map(Platform::to_string).unwrap_or_default();
    images.sort_by_key(|image| (name(image), image.digest.to_string()));
    let mut all = images.iter().chain(&beside);
    let docker = all.all(|image| image.media_type == media_type::DOCKER_MANIFEST);
    let index = Index {
        schema_version: 2,
        media_type: if docker { media_type::DOCKER_LIST } else { media_type::OCI_INDEX }.to_owned(),
        manifests: images.iter().cloned().chain(beside).collect(),
        annotations: BTreeMap::new(),
    };
    let bytes = Bytes::from(index.to_bytes());
    Joined { index: Descriptor::of(&index.media_type, &bytes), bytes, images, referrers }
}

async fn part(reference: &Reference, client: &Client) -> Result<Part, Error> {
    let no_part = |reason: &str| Error::NoPart { reference: reference.to_string(), reason: reason.to_owned() };
    let failed = |source| Error::Part { reference: reference.to_string(), source };
    // The index of one image is that image, with what stands beside it.
    let named = client.manifest(reference).await.map_err(failed)?;
    let (mut from, mut annotations, mut beside) = (reference.clone(), BTreeMap::new(), Vec::new());
    if let Some(Ok(Document::Index(index))) = named.map(|(bytes, _)| Document::parse_alone(&bytes)) {
        let (documents, images): (Vec<&Descriptor>, Vec<&Descriptor>) =
            index.manifests.iter().partition(|one| attested(one).is_some() || one.artifact_type.is_some());
        let [image] = images[..] else {
            return Err(no_part("it is an index already; give the images of it, by digest"));
        };
        for document in documents.into_iter().filter(|one| attested(one).as_ref() == Some(&image.digest)) {
            beside.push(copied(reference, document, client).await?);
        }
        (from, annotations) = (reference.with_digest(image.digest.clone()), image.annotations.clone());
    }
    let resolved = client.resolve(&from, &Platform::host()).await.map_err(failed)?;
    let Resolved { manifest, manifest_bytes, digest, indexes, config, .. } = resolved;
    if !indexes.is_empty() {
        return Err(no_part("it is an index already; give the images of it, by digest"));
    }
    if config.platform.os.is_empty() || config.platform.architecture.is_empty() {
        return Err(no_part("its configuration names no platform"));
    }
    let descriptor = Descriptor::of(&manifest.media_type, &manifest_bytes);
    let descriptor = Descriptor { platform: Some(config.platform), annotations, ..descriptor };
    let image = Copied { descriptor, manifest, bytes: manifest_bytes };
    Ok(Part { from: reference.with_digest(digest), image, beside })
}

/// Reads the manifest of documents that an index, or a registry's list, names.
async fn copied(repository: &Reference, descriptor: &Descriptor, client: &Client) -> Result<Copied, Error> {
    let place = repository.with_digest(descriptor.digest.clone());
    let no_part = |reason: String| Error::NoPart { reference: place.to_string(), reason };
    let found = client.manifest(&place).await.map_err(|source| Error::Part { reference: place.to_string(), source })?;
    let (bytes, _) = found.ok_or_else(|| no_part("it is not there".to_owned()))?;
    match Document::parse(&descriptor.media_type, &bytes).map_err(|error| no_part(error.to_string()))? {
        Document::Manifest(manifest) => Ok(Copied { descriptor: descriptor.clone(), manifest, bytes }),
        Document::Index(_) => Err(no_part("it is an index".to_owned())),
    }
}

fn order(part: &Part) -> (String, String) {
    let Descriptor { platform, digest, .. } = &part.image.descriptor;
    (platform.as_ref().map(Platform::to_string).unwrap_or_default(), digest.to_string())
}

fn index(parts: &[Part], request: &IndexRequest) -> Result<Index, Error> {
    for (number, second) in parts.iter().enumerate() {
        let same = |first: &&Part| match (&first.image.descriptor.platform, &second.image.descriptor.platform) {
            (Some(one), Some(other)) => one.is_served_by(other) && one.os_version == other.os_version,
            _ => false,
        };
        if let Some(first) = parts[..number].iter().find(same) {
            let platform = second.image.descriptor.platform.as_ref().map(Platform::to_string).unwrap_or_default();
            let (first, second) = (first.from.to_string(), second.from.to_string());
            return Err(Error::SamePlatform { platform, first, second });
        }
    }
    let images = parts.iter().map(|part| described(part, request));
    let manifests: Vec<Descriptor> =
        images.chain(parts.iter().flat_map(|part| &part.beside).map(|beside| beside.descriptor.clone())).collect();
    let docker = match request.format {
        IndexFormat::Oci => false,
        IndexFormat::Docker => true,
        // Docker's lists have no annotations.
        IndexFormat::LikeImages if !request.annotations.is_empty() || !request.descriptor_annotations.is_empty() => {
            false
        }
        IndexFormat::LikeImages => manifests.iter().all(|one| one.media_type == media_type::DOCKER_MANIFEST),
    };
    Ok(Index {
        schema_version: 2,
        media_type: if docker { media_type::DOCKER_LIST } else { media_type::OCI_INDEX }.to_owned(),
        manifests,
        annotations: request.annotations.clone(),
    })
}

/// Returns what describes an image in the index; what it was found with stays unless it is said otherwise.
fn described(part: &Part, request: &IndexRequest) -> Descriptor {
    let mut descriptor = part.image.descriptor.clone();
    for annotation in &request.descriptor_annotations {
        let is_meant = annotation
            .platform
            .as_ref()
            .is_none_or(|wanted| descriptor.platform.as_ref().is_some_and(|platform| wanted.is_served_by(platform)));
        if is_meant {
            descriptor.annotations.insert(annotation.key.clone(), annotation.value.clone());
        }
    }
    descriptor
}

/// Brings an image into another repository, and what is said about it.
async fn copy(part: &Part, to: &Reference, client: &Client, reporter: &dyn Reporter) -> Result<(), Error> {
    for copied in [&part.image].into_iter().chain(&part.beside) {
        blobs(copied, (&part.from, to), client, reporter).await?;
        let by_digest = to.with_digest(copied.descriptor.digest.clone());
        client.push_manifest(&by_digest, &copied.descriptor.media_type, copied.bytes.clone()).await?;
    }
    let subject = &part.image.descriptor.digest;
    for referrer in client.referrers(&part.from, subject, None).await? {
        let referrer = copied(&part.from, &referrer, client).await?;
        blobs(&referrer, (&part.from, to), client, reporter).await?;
        let written = Written { descriptor: referrer.descriptor, manifest: referrer.bytes, blobs: Vec::new() };
        let pushed = client.push_referrer(to, subject, &written).await;
        pushed.map_err(|source| Error::Attachment { subject: subject.to_string(), source })?;
    }
    Ok(())
}

/// Brings layers and configuration into another repository first, so that a manifest is never without them.
async fn blobs(
    copied: &Copied,
    (from, to): (&Reference, &Reference),
    client: &Client,
    reporter: &dyn Reporter,
) -> Result<(), Error> {
    for descriptor in copied.manifest.layers.iter().chain([&copied.manifest.config]) {
        let pushed = client.copy_blob(from, to, descriptor).await?;
        pushed.report(reporter, to, descriptor);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::DescriptorAnnotation;

    fn part_of(platform: &str, media_type: &str) -> Part {
        let bytes = Bytes::from(platform.to_owned());
        let mut descriptor = Descriptor::of(media_type, &bytes);
        descriptor.platform = Some(platform.parse().expect("platform"));
        let from: Reference = "registry.example.com/app".parse().expect("reference");
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type.to_owned(),
            artifact_type: None,
            config: Descriptor::of(media_type::OCI_CONFIG, b"{}"),
            layers: Vec::new(),
            subject: None,
            annotations: BTreeMap::new(),
        };
        let from = from.with_digest(descriptor.digest.clone());
        Part { from, image: Copied { descriptor, manifest, bytes }, beside: Vec::new() }
    }

    fn request(format: IndexFormat) -> IndexRequest {
        IndexRequest {
            images: Vec::new(),
            destinations: Vec::new(),
            format,
            annotations: BTreeMap::new(),
            descriptor_annotations: Vec::new(),
            check_push: false,
            results: crate::request::ResultFiles::default(),
        }
    }

    #[test]
    fn annotations_make_it_an_oci_index_and_stand_where_they_belong() {
        let parts = ["linux/amd64", "linux/arm64"].map(|name| part_of(name, media_type::DOCKER_MANIFEST));
        let annotation = |platform: Option<&str>, value: &str| DescriptorAnnotation {
            platform: platform.map(|platform| platform.parse().expect("platform")),
            key: "of".to_owned(),
            value: value.to_owned(),
        };
        let request = IndexRequest {
            annotations: [("a".to_owned(), "b".to_owned())].into(),
            descriptor_annotations: vec![annotation(None, "all"), annotation(Some("linux/arm64/v8"), "arm")],
            ..request(IndexFormat::LikeImages)
        };
        let index = index(&parts, &request).expect("joins");
        assert_eq!((&*index.media_type, &*index.annotations["a"]), (media_type::OCI_INDEX, "b"));
        assert_eq!(index.manifests.iter().map(|one| &*one.annotations["of"]).collect::<Vec<_>>(), ["all", "arm"]);
    }

    #[test]
    fn the_order_of_images_does_not_matter() {
        let names = ["linux/arm64", "linux/amd64", "linux/arm/v7"];
        let bytes = |turn: usize| {
            let mut parts: Vec<Part> = names.iter().map(|name| part_of(name, media_type::OCI_MANIFEST)).collect();
            parts.rotate_left(turn);
            parts.sort_by_key(order);
            index(&parts, &request(IndexFormat::LikeImages)).expect("joins").to_bytes()
        };
        assert_eq!(bytes(0), bytes(1));
        assert_eq!(bytes(0), bytes(2));
    }

    #[test]
    fn one_platform_has_one_image() {
        let (mut one, other) =
            (part_of("linux/arm64", media_type::OCI_MANIFEST), part_of("linux/arm64", media_type::OCI_MANIFEST));
        one.image.descriptor.platform.as_mut().expect("has one").variant = Some("v8".to_owned());
        let error = index(&[one, other], &request(IndexFormat::Oci)).expect_err("is refused");
        assert!(error.to_string().contains("linux/arm64"), "{error}");
    }

    #[test]
    fn the_media_type_is_that_of_the_images_unless_one_is_named() {
        let (oci, docker) = (media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST);
        let rows = [
            (docker, docker, IndexFormat::LikeImages, media_type::DOCKER_LIST),
            (docker, oci, IndexFormat::LikeImages, media_type::OCI_INDEX),
            (docker, docker, IndexFormat::Oci, media_type::OCI_INDEX),
            (oci, oci, IndexFormat::Docker, media_type::DOCKER_LIST),
        ];
        for (one, other, format, expected) in rows {
            let parts = [part_of("linux/amd64", one), part_of("linux/arm64", other)];
            assert_eq!(index(&parts, &request(format)).expect("joins").media_type, expected);
        }
    }
}
