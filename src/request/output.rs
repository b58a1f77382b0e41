//! Where an image goes, and what form its documents and layers have.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::oci::Reference;

/// Where an image goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A repository, with the tag that the image gets.
    Registry(Reference),
    /// An OCI image layout in a directory.
    Layout {
        /// The directory.
        path: PathBuf,
        /// Whose tags name the image in the layout.
        names: Vec<Reference>,
    },
    /// The image as one tar file.
    Archive {
        /// Who reads it.
        form: ArchiveForm,
        /// Where it is written.
        target: Target,
        /// The names the image gets when it is loaded.
        names: Vec<Reference>,
    },
    /// The image's files in one tar, without the image.
    Tar(Target),
    /// The image's files in a directory.
    Directory {
        /// The directory.
        path: PathBuf,
        /// What becomes of files that are there and not in the image.
        mode: DirectoryMode,
    },
}

/// What becomes of files in a directory that are not in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryMode {
    /// They stay.
    Copy,
    /// They are removed.
    Delete,
}

/// The forms of an image in one tar file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveForm {
    /// An OCI image layout.
    Oci,
    /// As `docker save` writes it: a layout, and beside it what `docker load` reads.
    Docker,
}

/// Where a stream of bytes is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

/// What the image's documents and layers look like; the same at every destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageForm {
    /// Whose media types it has.
    pub format: ImageFormat,
    /// Whether layers of the base that are compressed otherwise than new ones are compressed anew.
    pub recompress: bool,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// Annotations of what describes the manifest in the index of a layout.
    pub descriptor_annotations: BTreeMap<String, String>,
    /// Where it is told what the image was made of.
    pub origin: OriginMarks,
}

/// Whose media types an image has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageFormat {
    /// OCI's.
    #[default]
    Oci,
    /// Docker's (manifest version 2, schema 2).
    Docker,
}

/// Where it is told what an image was made of: `org.opencontainers.image.created`, `.revision`, `.source`,
/// `.base.name` and `.base.digest`.
///
/// Source: OCI image-spec, annotations.md.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OriginMarks {
    /// In the manifest's annotations.
    pub annotations: bool,
    /// In the configuration's labels.
    pub labels: bool,
}
