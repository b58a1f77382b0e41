//! An image as one tar file, as `docker save` writes it and `docker load` and `podman load` read it.
//!
//! Source: <https://github.com/moby/docker-image-spec/blob/main/spec.md>, "Combined Image JSON + Filesystem
//! Changeset Format". Layers stay compressed in it: every reader decompresses by content.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::oci::Reference;
use crate::store::Store;

use super::{Assembled, Error, OpenLayer};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// Writes the archive beside its place and renames it when it is whole.
pub(super) fn write(
    path: &Path,
    names: &[Reference],
    image: &Assembled,
    store: &Store,
    open: &OpenLayer<'_>,
) -> Result<(), Error> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let failure = |action, source| Error::Write { action, path: path.to_owned(), source };
    let file = File::create(&temporary).map_err(|source| failure("create", source))?;
    let written = write_members(BufWriter::new(file), names, image, store, open);
    let renamed = written.and_then(|()| fs::rename(&temporary, path).map_err(|source| failure("write", source)));
    if renamed.is_err() {
        // The error that made it useless is told; that it could not be removed adds nothing.
        let _ = fs::remove_file(&temporary);
    }
    renamed
}

fn write_members<W: Write>(
    target: W,
    names: &[Reference],
    image: &Assembled,
    store: &Store,
    open: &OpenLayer<'_>,
) -> Result<(), Error> {
    let failure = |source| Error::Write { action: "write into", path: "the Docker archive".into(), source };
    let mut tar = tar::Builder::new(target);
    let config = format!("{}.json", image.config.digest.hex());
    append(&mut tar, &config, image.config.size, &mut &*image.config_bytes).map_err(failure)?;
    let mut layers = Vec::new();
    for layer in &image.layers {
        let name = format!("{}.tar.gz", layer.descriptor.digest.hex());
        if !layers.contains(&name) {
            let unreadable = |source| Error::Layer { digest: layer.descriptor.digest.to_string(), source };
            let mut reader = if store.contains(&layer.descriptor.digest) {
                Box::new(store.verified(&layer.descriptor.digest)?)
            } else {
                open(layer).map_err(unreadable)?
            };
            append(&mut tar, &name, layer.descriptor.size, &mut reader).map_err(failure)?;
        }
        layers.push(name);
    }
    let saved = SavedImage { config, repo_tags: names.iter().map(load_name).collect(), layers };
    let manifest = serde_json::to_vec(&[saved]).expect("strings always serialize");
    append(&mut tar, "manifest.json", manifest.len() as u64, &mut manifest.as_slice()).map_err(failure)?;
    tar.into_inner().and_then(|mut target| target.flush()).map_err(failure)
}

fn append<W: Write>(tar: &mut tar::Builder<W>, name: &str, size: u64, content: &mut dyn Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    tar.append_data(&mut header, name, content)
}

/// Returns the name that Docker shows: without the default registry and namespace.
fn load_name(reference: &Reference) -> String {
    let full = reference.to_string();
    full.strip_prefix("docker.io/library/").or(full.strip_prefix("docker.io/")).unwrap_or(&full).to_owned()
}
