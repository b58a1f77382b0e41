//! The flags of what looks at images: `inspect`, `diff`, `pin`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::preview::FormatName;
use super::{MessageArgs, RegistryArgs, WhoArgs, values};

/// Tells what an image is: settings, layers and the instructions that made them, what is said about it, and who signed.
///
/// The image is in a registry, or in an OCI layout, an archive of one, or an archive of `docker save`. Of variables the names
/// are told, not the values. Whether signatures hold is told, and does not decide the exit code: `yadokari verify` is for that.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The image: `[registry/]repository[:tag][@digest]`, or the path of a layout or archive; `-` for standard input.
    ///
    /// A path begins with `/`, `./` or `../`, or names what is there; `oci-layout://PATH` is one, too.
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// Of an index, tell of the image for this platform only.
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// The form of what is told.
    #[arg(long, value_name = "FORMAT", default_value = "text", ignore_case = true)]
    pub format: FormatName,
    /// Whose signatures hold.
    #[command(flatten)]
    pub who: WhoArgs,
    /// Keep what must be unpacked of an archive below this directory, as for a build.
    #[arg(long, value_name = "DIRECTORY", value_parser = values::path)]
    pub state_dir: Option<PathBuf>,
    /// How registries are spoken to.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// What is printed.
    #[command(flatten)]
    pub messages: MessageArgs,
}

/// Tells what differs between two images: settings, history, layers, and files with each field.
///
/// Ends with 0 where they are equal, and with 79 where they differ. The images are named as for `yadokari inspect`; of two
/// indexes the images of each platform are compared. What is said about images (provenance, signatures) is not.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The first image.
    #[arg(value_name = "A")]
    pub a: String,
    /// The second image.
    #[arg(value_name = "B")]
    pub b: String,
    /// What does not count, separated by commas; may be given many times.
    #[arg(long, value_name = "WHAT", value_delimiter = ',', ignore_case = true)]
    pub ignore: Vec<IgnoreName>,
    /// Of indexes, compare the images for this platform only.
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// The form of what is told.
    #[arg(long, value_name = "FORMAT", default_value = "text", ignore_case = true)]
    pub format: FormatName,
    /// Keep what must be unpacked of an archive below this directory, as for a build.
    #[arg(long, value_name = "DIRECTORY", value_parser = values::path)]
    pub state_dir: Option<PathBuf>,
    /// How registries are spoken to.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// What is printed.
    #[command(flatten)]
    pub messages: MessageArgs,
}

/// What may be ignored of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IgnoreName {
    /// `mtime` and `created`.
    Timestamps,
    /// When files were modified.
    Mtime,
    /// When the image and its parts were made.
    Created,
    /// Modes of files.
    Mode,
    /// Owners of files.
    Owner,
    /// Extended attributes of files.
    Xattrs,
    /// Lines of history.
    History,
    /// Annotations.
    Annotations,
    /// Labels.
    Labels,
    /// How layers are compressed.
    Compression,
    /// The order of a layer's entries, and how its tar is written.
    Order,
    /// How files are divided into layers.
    Layers,
}

/// Writes down the digests of the images that Dockerfiles name, so that each build uses the same ones.
///
/// `name:tag` becomes `name:tag@digest`, the digest of the index where there is one: for FROM, COPY --from, RUN --mount=from,
/// and for ARGs before the first FROM whose default is an image. Without --write only tells what would be written. Stages,
/// scratch and `# syntax=` are left.
#[derive(Debug, Args)]
pub struct PinArgs {
    /// The Dockerfiles.
    #[arg(value_name = "DOCKERFILE", required = true, value_parser = values::path)]
    pub dockerfiles: Vec<PathBuf>,
    /// Change the files; of each, no byte but those of references.
    #[arg(long)]
    pub write: bool,
    /// End with exit code 76 when an image has no digest, and with --update when one has another than its tag now. Without
    /// --update no registry is asked.
    #[arg(long, conflicts_with = "write")]
    pub check: bool,
    /// Bring the digests that are there to those that their tags have now.
    #[arg(long)]
    pub update: bool,
    /// The form of what is told.
    #[arg(long, value_name = "FORMAT", default_value = "text", ignore_case = true)]
    pub format: FormatName,
    /// How registries are spoken to.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// What is printed.
    #[command(flatten)]
    pub messages: MessageArgs,
}
