//! Joining: images of several platforms become one index.
//!
//! Each image is named by the digest that its reference had when the index was made. Images of other
//! repositories are brought into those of the index, since an index can only point to its own repository.
//!
//! *Invariant: the same images make the same bytes, in whatever order they are given, and no platform has two.*

use bytes::Bytes;

use super::upload::point;
use super::{Error, check_push};
use crate::oci::{Descriptor, Index, Manifest, Platform, Reference, media_type};
use crate::outcome::IndexOutcome;
use crate::progress::Reporter;
use crate::registry::{Client, Resolved};
use crate::request::{IndexFormat, IndexRequest};

/// An image that becomes a part of the index.
struct Part {
    from: Reference,
    descriptor: Descriptor,
    manifest: Manifest,
    bytes: Bytes,
}

/// Joins the images and pushes the index to every destination.
///
/// # Errors
/// [`Error`] when an image is not there, is an index itself or has another's platform, and when a registry refuses.
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
        if parts.iter().all(|known| known.descriptor.digest != part.descriptor.digest) {
            parts.push(part);
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
        images: index.manifests,
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
        annotations: std::collections::BTreeMap::new(),
    };
    let bytes = Bytes::from(index.to_bytes());
    Joined { index: Descriptor::of(&index.media_type, &bytes), bytes, images, referrers }
}

async fn part(reference: &Reference, client: &Client) -> Result<Part, Error> {
    let no_part = |reason: &str| Error::NoPart { reference: reference.to_string(), reason: reason.to_owned() };
    let resolved = client.resolve(reference, &Platform::host()).await;
    let resolved = resolved.map_err(|source| Error::Part { reference: reference.to_string(), source })?;
    let Resolved { manifest, manifest_bytes, digest, indexes, config, .. } = resolved;
    if !indexes.is_empty() {
        return Err(no_part("it is an index already; give the images of it, by digest"));
    }
    if config.platform.os.is_empty() || config.platform.architecture.is_empty() {
        return Err(no_part("its configuration names no platform"));
    }
    let mut descriptor = Descriptor::of(&manifest.media_type, &manifest_bytes);
    descriptor.platform = Some(config.platform);
    Ok(Part { from: reference.with_digest(digest), descriptor, manifest, bytes: manifest_bytes })
}

fn order(part: &Part) -> (String, String) {
    let platform = part.descriptor.platform.as_ref().map(Platform::to_string).unwrap_or_default();
    (platform, part.descriptor.digest.to_string())
}

fn index(parts: &[Part], request: &IndexRequest) -> Result<Index, Error> {
    for (number, second) in parts.iter().enumerate() {
        let same = |first: &&Part| match (&first.descriptor.platform, &second.descriptor.platform) {
            (Some(one), Some(other)) => one.is_served_by(other) && one.os_version == other.os_version,
            _ => false,
        };
        if let Some(first) = parts[..number].iter().find(same) {
            let platform = second.descriptor.platform.as_ref().map(Platform::to_string).unwrap_or_default();
            let (first, second) = (first.from.to_string(), second.from.to_string());
            return Err(Error::SamePlatform { platform, first, second });
        }
    }
    let docker = match request.format {
        IndexFormat::Oci => false,
        IndexFormat::Docker => true,
        // Docker's lists have no annotations.
        IndexFormat::LikeImages if !request.annotations.is_empty() || !request.descriptor_annotations.is_empty() => {
            false
        }
        IndexFormat::LikeImages => parts.iter().all(|part| part.descriptor.media_type == media_type::DOCKER_MANIFEST),
    };
    Ok(Index {
        schema_version: 2,
        media_type: if docker { media_type::DOCKER_LIST } else { media_type::OCI_INDEX }.to_owned(),
        manifests: parts.iter().map(|part| described(part, request)).collect(),
        annotations: request.annotations.clone(),
    })
}

/// Returns what describes an image in the index; what it was found with stays unless it is said otherwise.
fn described(part: &Part, request: &IndexRequest) -> Descriptor {
    let mut descriptor = part.descriptor.clone();
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

/// Brings an image into another repository: layers and configuration first, so that its manifest is never
/// without them.
async fn copy(part: &Part, to: &Reference, client: &Client, reporter: &dyn Reporter) -> Result<(), Error> {
    for descriptor in part.manifest.layers.iter().chain([&part.manifest.config]) {
        let pushed = client.copy_blob(&part.from, to, descriptor).await?;
        pushed.report(reporter, to, descriptor);
    }
    let by_digest = to.with_digest(part.descriptor.digest.clone());
    client.push_manifest(&by_digest, &part.descriptor.media_type, part.bytes.clone()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
        Part { from: from.with_digest(descriptor.digest.clone()), descriptor, manifest, bytes }
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
        one.descriptor.platform.as_mut().expect("has one").variant = Some("v8".to_owned());
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
