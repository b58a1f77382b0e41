//! An image as one tar file: an OCI layout in it, and for Docker what `docker load` and `podman load` read.
//!
//! Source: OCI image-spec, image-layout.md;
//! <https://github.com/moby/docker-image-spec/blob/main/spec.md>, "Combined Image JSON + Filesystem Changeset Format".
//! Both forms share their blobs, as in what `docker save` writes since 25.0. Layers stay compressed: every reader
//! decompresses by content. Documents stand first, so that a reader of a stream knows what comes.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use serde::Serialize;

use crate::oci::{Descriptor, Digest, Reference};
use crate::request::{ArchiveForm, Target};

use super::layout::{self, LAYOUT};
use super::staged::Staged;
use super::{Assembled, Error, Joined, OpenLayer, attached, descriptors, of_platforms};
use crate::attest::{Attachment, Kind};
use crate::place::Places;

/// The unit of a tar file.
const BLOCK: usize = 512;
/// How much is copied at a time.
const PIECE: usize = 128 << 10;

/// One image of the list that `docker load` reads.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// Writes the archive; a file is there only when it is whole.
pub(super) fn write(
    form: ArchiveForm,
    target: &Target,
    names: &[Reference],
    image: &Assembled,
    open: &OpenLayer<'_>,
    places: &Places,
) -> Result<(), Error> {
    let mut tar = Tar { staged: Staged::create(target, places)? };
    tar.append_bytes("oci-layout", LAYOUT)?;
    let attachments = match form {
        ArchiveForm::Oci => &*image.attachments,
        ArchiveForm::Docker => &[],
    };
    let joined = beside(image, attachments);
    let root = joined.as_ref().map_or(&image.manifest, |joined| &joined.index);
    let referrers = descriptors(attachments, Kind::Referrer);
    tar.append_bytes("index.json", &layout::index(root, names, &referrers, form).to_bytes())?;
    if let Some(joined) = &joined {
        tar.append_bytes(&blob(&joined.index.digest), &joined.bytes)?;
    }
    if form == ArchiveForm::Docker {
        tar.append_bytes("manifest.json", &saved(image, names))?;
    }
    tar.append_bytes(&blob(&image.manifest.digest), &image.manifest_bytes)?;
    tar.append_bytes(&blob(&image.config.digest), &image.config_bytes)?;
    for (descriptor, bytes) in attached::blobs(attachments) {
        tar.append_bytes(&blob(&descriptor.digest), &bytes)?;
    }
    let mut written = BTreeSet::new();
    for layer in &image.layers {
        let digest = &layer.descriptor.digest;
        if written.insert(digest) {
            let unreadable = |source| Error::Layer { digest: digest.to_string(), source };
            let mut reader = open(layer).map_err(unreadable)?;
            tar.append(&blob(digest), layer.descriptor.size, &mut reader, &unreadable)?;
        }
    }
    tar.finish()
}

/// Returns the index of the image and of what stands beside it; none where nothing does.
fn beside(image: &Assembled, attachments: &[Attachment]) -> Option<Joined> {
    let in_index = descriptors(attachments, Kind::InIndex);
    let own = Descriptor { platform: Some(image.platform.clone()), ..image.manifest.clone() };
    (!in_index.is_empty()).then(|| of_platforms(vec![own], in_index, Vec::new()))
}

fn saved(image: &Assembled, names: &[Reference]) -> Vec<u8> {
    let layers = image.layers.iter().map(|layer| blob(&layer.descriptor.digest)).collect();
    let repo_tags = names.iter().map(load_name).collect();
    serde_json::to_vec(&[SavedImage { config: blob(&image.config.digest), repo_tags, layers }])
        .expect("strings always serialize")
}

/// A tar file in the making. Its end is only written when all is well: a stream that broke off must not look whole.
struct Tar {
    staged: Staged,
}

impl Tar {
    fn append_bytes(&mut self, name: &str, mut bytes: &[u8]) -> Result<(), Error> {
        let never = |source| Error::Write { action: "read", path: name.into(), source };
        self.append(name, bytes.len() as u64, &mut bytes, &never)
    }

    fn append(
        &mut self,
        name: &str,
        size: u64,
        content: &mut dyn Read,
        unreadable: &dyn Fn(io::Error) -> Error,
    ) -> Result<(), Error> {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).map_err(|source| self.staged.failed(source))?;
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        self.write(header.as_bytes())?;
        let mut piece = vec![0; PIECE];
        // To the end, where the reader tells whether the content is what it should be.
        loop {
            match content.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => self.write(&piece[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(error)),
            }
        }
        let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        self.write(&[0; BLOCK][..(BLOCK - over) % BLOCK])
    }

    fn finish(mut self) -> Result<(), Error> {
        self.write(&[0; 2 * BLOCK])?;
        self.staged.finish()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.staged.write_all(bytes).map_err(|source| self.staged.failed(source))
    }
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Returns the name that Docker shows: without the default registry and namespace.
fn load_name(reference: &Reference) -> String {
    let full = reference.to_string();
    full.strip_prefix("docker.io/library/").or(full.strip_prefix("docker.io/")).unwrap_or(&full).to_owned()
}
