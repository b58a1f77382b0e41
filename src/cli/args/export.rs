//! Flags in BuildKit's words: where the image goes, and what form it has there.

use clap::Args;

use super::values::{ImageFormatName, OriginName};

/// Where the image goes, and what form it has there.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Put the image, or its files, somewhere: `type=registry|oci|docker|local|tar[,NAME=VALUE…]`; may be given many
    /// times.
    ///
    /// registry (or `image,push=true`): `name=REFERENCE`, several in quotes (`"name=a,b"`).
    /// oci, docker: an archive in `dest=FILE`, to standard output without it or with `-`; `tar=false` makes it a layout
    /// directory; `name=…`, else the names of --destination.
    /// local: the files in `dest=DIRECTORY`, owned by who runs this; `mode=delete` removes what else is there. tar: the
    /// files, with the image's owners, in `dest=FILE` or to standard output. A path alone is local, `-` alone is tar.
    /// Of an image: `compression=…`, `compression-level=…`, `force-compression=BOOL`, `oci-mediatypes=BOOL`,
    /// `annotation[-TYPE].KEY=VALUE`, which hold for the whole build, as the flags of that name do: it makes one image.
    #[arg(long, short, value_name = "FIELDS", help_heading = "Output")]
    pub output: Vec<String>,
    /// Whose media types the image has: OCI's, the default, or Docker's.
    ///
    /// All of its documents and layers get them, those of the base too. Docker's have none for zstd, and no annotations.
    #[arg(long, value_name = "FORMAT", ignore_case = true, help_heading = "Image")]
    pub image_format: Option<ImageFormatName>,
    /// Compress layers of the base anew that are compressed otherwise than --compression says.
    #[arg(long, help_heading = "Image")]
    pub force_compression: bool,
    /// Add an annotation; may be given many times.
    ///
    /// TYPE is `manifest`, the default, or `manifest-descriptor`: what describes it in the index of a layout or an
    /// archive. `yadokari index` has those of an index.
    #[arg(long, value_name = "[TYPE:]KEY=VALUE", help_heading = "Image")]
    pub annotation: Vec<String>,
    /// Say in the image when and of what it was made, as `org.opencontainers.image.created`, `.revision` and `.source`
    /// (of a Git context), `.base.name` and `.base.digest`.
    #[arg(long, value_name = "WHERE", default_value = "none", ignore_case = true, help_heading = "Image")]
    pub mark_origin: OriginName,
}
