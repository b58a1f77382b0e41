//! An image as an OCI image layout in a directory. Source: OCI image-spec, image-layout.md.

use std::collections::BTreeMap;
use std::io::{self, BufWriter};
use std::path::Path;

use crate::oci::{DEFAULT_TAG, Descriptor, Digest, Index, Reference, media_type};
use crate::place::{Place, Places};
use crate::request::ArchiveForm;
use crate::store::Verified;

use super::{Assembled, Error, Joined, OpenLayer, attached};

/// Few writes for large layers.
const BUFFER: usize = 256 << 10;

/// The file that says that this is a layout.
pub(super) const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// What an image of a layout is called. Source: OCI image-spec, annotations.md.
const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";

/// The whole name, which containerd, Docker and podman give a loaded image.
///
/// Source: <https://github.com/containerd/containerd/blob/main/core/images/annotations.go>.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// Writes the blobs of the image; blobs that are there and whole stay.
pub(super) fn write_blobs(path: &Path, image: &Assembled, open: &OpenLayer<'_>, places: &Places) -> Result<(), Error> {
    let failure = failure(path);
    let folder = places.folder(path).map_err(failure)?;
    let blobs = folder.below("blobs/sha256");
    for layer in &image.layers {
        let digest = &layer.descriptor.digest;
        let blob = blobs.file(digest.hex());
        if is_whole(&blob, digest).map_err(failure)? {
            continue;
        }
        let unreadable = |source| Error::Layer { digest: digest.to_string(), source };
        let mut reader = open(layer).map_err(unreadable)?;
        let mut writer = BufWriter::with_capacity(BUFFER, blob.draft().map_err(failure)?);
        io::copy(&mut reader, &mut writer).map_err(unreadable)?;
        let draft = writer.into_inner().map_err(|error| failure(error.into_error()))?;
        draft.finish().map_err(failure)?;
    }
    blobs.file(image.config.digest.hex()).write(&image.config_bytes).map_err(failure)?;
    blobs.file(image.manifest.digest.hex()).write(&image.manifest_bytes).map_err(failure)?;
    for (descriptor, bytes) in attached::blobs(&image.attachments) {
        blobs.file(descriptor.digest.hex()).write(&bytes).map_err(failure)?;
    }
    Ok(())
}

/// Tells whether a blob is there with the bytes of its name. The directory may be a checkout's: what it holds may be
/// anybody's.
fn is_whole(blob: &Place, digest: &Digest) -> io::Result<bool> {
    let Some(file) = blob.open()? else { return Ok(false) };
    let read = io::copy(&mut Verified::new(file, digest.clone()), &mut io::sink());
    match read {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(false),
        Err(error) => Err(error),
    }
}

/// Lets the layout have this image, whose blobs are there; an index that is there already is replaced.
pub(super) fn write_index(
    path: &Path,
    image: &Descriptor,
    names: &[Reference],
    referrers: &[Descriptor],
    places: &Places,
) -> Result<(), Error> {
    let failure = failure(path);
    let folder = places.folder(path).map_err(failure)?;
    folder.file("oci-layout").write(LAYOUT).map_err(failure)?;
    folder.file("index.json").write(&index(image, names, referrers, ArchiveForm::Oci).to_bytes()).map_err(failure)
}

fn failure(path: &Path) -> impl Fn(io::Error) -> Error + Copy + use<'_> {
    move |source| Error::Write { action: "write the layout", path: path.to_owned(), source }
}

/// Lets the layout have the index of images that are there.
pub(super) fn write_joined(path: &Path, joined: &Joined, names: &[Reference], places: &Places) -> Result<(), Error> {
    let folder = places.folder(path).map_err(failure(path))?;
    let blob = folder.below("blobs/sha256").file(joined.index.digest.hex());
    blob.write(&joined.bytes).map_err(failure(path))?;
    write_index(path, &joined.index, names, &joined.referrers, places)
}

/// Returns the index of a layout with this one image, under each of its names, and with what refers to it, without any.
///
/// OCI's readers look for a tag, and take two of the same for a fault: each stands there once, and `latest` where there
/// is no name. Docker loads the image under each whole name, and without one where there is none.
pub(super) fn index(image: &Descriptor, names: &[Reference], referrers: &[Descriptor], form: ArchiveForm) -> Index {
    let mut manifests: Vec<Descriptor> = Vec::new();
    for name in names {
        let tag = name.tag.as_deref().unwrap_or(DEFAULT_TAG);
        let is_there = |one: &Descriptor| one.annotations.get(REFERENCE_NAME).is_some_and(|known| known == tag);
        if !(form == ArchiveForm::Oci && manifests.iter().any(is_there)) {
            manifests.push(named(image, tag, Some(name)));
        }
    }
    if manifests.is_empty() {
        manifests.push(match form {
            ArchiveForm::Oci => named(image, DEFAULT_TAG, None),
            ArchiveForm::Docker => image.clone(),
        });
    }
    manifests.extend_from_slice(referrers);
    Index { schema_version: 2, media_type: media_type::OCI_INDEX.to_owned(), manifests, annotations: BTreeMap::new() }
}

fn named(image: &Descriptor, tag: &str, name: Option<&Reference>) -> Descriptor {
    let mut descriptor = image.clone();
    let mut annotate = |key: &str, value: String| _ = descriptor.annotations.entry(key.to_owned()).or_insert(value);
    annotate(REFERENCE_NAME, tag.to_owned());
    if let Some(name) = name {
        annotate(IMAGE_NAME, name.to_string());
    }
    descriptor
}
