//! Where a finished image goes: registries, OCI layouts, archives, its bare files; and the files that tell about it.
//!
//! Knows destinations; does not change the image.
//!
//! *Invariant: a result file appears whole, and only after every destination has the image.*

mod archive;
mod assemble;
mod attached;
mod error;
mod files;
mod index;
mod layout;
mod packed;
mod push;
pub mod results;
mod staged;
mod upload;

use std::path::PathBuf;

use crate::attest::Kind;
use crate::image::{Inventory, Layer, Stop};
use crate::oci::Reference;
use crate::place::Places;
use crate::progress::{Event, Reporter};
use crate::registry::Client;
use crate::request::{ArchiveForm, Output, ResultFiles, Target};

pub use assemble::{Assembled, assemble, check_layers};
pub use attached::{descriptors, push_attachment, push_attachments};
pub use error::Error;
pub use index::{Joined, join, of_platforms};
pub use packed::{Packed, open_packed, read_packed};
pub use push::push;
pub use results::{
    FailureFacts, check_results, put_values, restore, write_failure, write_index_results, write_metadata,
    write_push_results, write_results,
};
pub use upload::{Uploads, check_push, point, repositories};

/// Gives the compressed bytes of a layer to an output that needs them, wherever they are.
pub type OpenLayer<'a> = dyn Fn(&Layer) -> std::io::Result<Box<dyn std::io::Read + Send>> + 'a;

/// What outputs that are files are made of.
pub struct Delivery<'a> {
    /// The image.
    pub image: &'a Assembled,
    /// Which files it has; there where an output asks ([`needs_files`]).
    pub files: Option<&'a Inventory>,
    /// Opens its layers.
    pub open: &'a OpenLayer<'a>,
    /// Is asked between blocks whether the work is to end.
    pub stop: Stop,
    /// Whether it becomes a part of an index: what points to it is written when all parts are there.
    pub is_part: bool,
    /// Is told what had to be left out.
    pub reporter: &'a dyn Reporter,
    /// Where outputs that are files go.
    pub places: &'a Places,
}

/// Finds where outputs and results go, before anything runs that could change what their paths lead to. What an earlier
/// build left in result files is removed, so that none of it can be taken for this one's; what other steps have told is
/// recorded. `regions` are directories that somebody else fills. What cannot be written is known now.
///
/// # Errors
/// [`Error::Write`] with the path.
pub fn begin(outputs: &[Output], results: &ResultFiles, regions: Vec<PathBuf>) -> Result<Places, Error> {
    let mut places = Places::new(regions);
    for output in outputs {
        let found = match output {
            Output::Archive { target: Target::File(path), .. } | Output::Tar(Target::File(path)) => {
                places.find(path).map_err(|source| (path, source))
            }
            Output::Layout { path, .. } | Output::Directory { path, .. } => {
                places.find_folder(path).map_err(|source| (path, source))
            }
            Output::Registry(_) | Output::Archive { .. } | Output::Tar(_) => Ok(()),
        };
        found.map_err(|(path, source)| Error::Write { action: "write to", path: path.clone(), source })?;
    }
    results::begin(results, &mut places)?;
    places.probe().map_err(|(path, source)| Error::Write { action: "write to", path, source })?;
    Ok(places)
}

/// Writes the outputs that are files; standard output last, since what went there cannot be taken back.
///
/// # Errors
/// [`Error`] with the path; what is half-written is removed.
pub fn write_files(outputs: &[Output], delivery: &Delivery<'_>) -> Result<(), Error> {
    let Delivery { image, open, places, .. } = delivery;
    let nothing = Inventory::new();
    let files = delivery.files.unwrap_or(&nothing);
    let (last, first): (Vec<&Output>, Vec<&Output>) = outputs.iter().partition(|output| is_stdout(output));
    for output in first.into_iter().chain(last) {
        match output {
            Output::Registry(_) => {}
            Output::Layout { path, names } => {
                layout::write_blobs(path, image, open, places)?;
                if !delivery.is_part {
                    let referrers = descriptors(&image.attachments, Kind::Referrer);
                    layout::write_index(path, &image.manifest, names, &referrers, places)?;
                }
            }
            Output::Archive { form, target, names } => {
                if *form == ArchiveForm::Docker {
                    not_attested(delivery, "an archive in Docker's form");
                }
                archive::write(*form, target, names, image, open, places)?;
            }
            Output::Tar(target) => {
                not_attested(delivery, "a tar of the files");
                files::write_tar(target, delivery, files)?;
            }
            Output::Directory { path, mode } => {
                not_attested(delivery, "a directory of the files");
                let warnings = files::write_directory(path, *mode, delivery, files)?;
                for message in warnings.iter().map(ToString::to_string) {
                    delivery.reporter.report(Event::Warning { rule: "NotExported", line: None, message: &message });
                }
            }
        }
    }
    Ok(())
}

/// Says of an output that it has no place for what is said about the image.
fn not_attested(delivery: &Delivery<'_>, what: &str) {
    if !delivery.image.attachments.is_empty() {
        let message = format!("{what} has no place for attestations; other outputs have them");
        delivery.reporter.report(Event::Warning { rule: "NotAttested", line: None, message: &message });
    }
}

/// Lets every output of a build for several platforms, which has their images by now, point to their index; returns
/// the references that were pushed.
///
/// # Errors
/// [`Error`] with the path or the registry.
pub async fn deliver_joined(
    joined: &Joined,
    outputs: &[Output],
    client: &Client,
    places: &Places,
) -> Result<Vec<Reference>, Error> {
    for output in outputs {
        if let Output::Layout { path, names } = output {
            layout::write_joined(path, joined, names, places)?;
        }
    }
    let destinations = registries(outputs);
    point(&destinations, async |destination| {
        Ok(client.push_manifest(destination, &joined.index.media_type, joined.bytes.clone()).await.map(drop)?)
    })
    .await?;
    Ok(destinations)
}

/// Tells whether an output is a file or a directory, and not in a registry.
pub fn is_written_here(output: &Output) -> bool {
    match output {
        Output::Registry(_) => false,
        Output::Layout { .. } | Output::Archive { .. } | Output::Tar(_) | Output::Directory { .. } => true,
    }
}

/// Tells whether an output asks for the image's files, and not for the image.
pub fn needs_files(output: &Output) -> bool {
    match output {
        Output::Registry(_) | Output::Layout { .. } | Output::Archive { .. } => false,
        Output::Tar(_) | Output::Directory { .. } => true,
    }
}

fn is_stdout(output: &Output) -> bool {
    match output {
        Output::Registry(_) | Output::Layout { .. } | Output::Directory { .. } => false,
        Output::Archive { target, .. } | Output::Tar(target) => *target == Target::Stdout,
    }
}

/// Returns the references that the image is pushed to.
pub fn registries(outputs: &[Output]) -> Vec<Reference> {
    let references = outputs.iter().filter_map(|output| match output {
        Output::Registry(reference) => Some(reference.clone()),
        Output::Layout { .. } | Output::Archive { .. } | Output::Tar(_) | Output::Directory { .. } => None,
    });
    references.collect()
}
