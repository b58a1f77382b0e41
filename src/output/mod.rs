//! Where a finished image goes: registries, an OCI layout, a Docker archive; and the files that tell about it.
//!
//! Knows destinations; does not change the image.
//!
//! *Invariant: a result file appears whole, and only after every destination has the image.*

mod archive;
mod assemble;
mod error;
mod index;
mod layout;
pub mod results;
mod upload;

use crate::image::Layer;
use crate::oci::Reference;
use crate::request::Output;
use crate::store::Store;

pub use assemble::{Assembled, assemble};
pub use error::Error;
pub use index::join;
pub use results::{check_results, remove_stale, write_atomically, write_index_results, write_metadata, write_results};
pub use upload::{Uploads, check_push};

/// Gives the compressed bytes of a layer to an output that needs them, wherever they are.
pub type OpenLayer<'a> = dyn Fn(&Layer) -> std::io::Result<Box<dyn std::io::Read + Send>> + 'a;

/// Writes the outputs that are files.
///
/// # Errors
/// [`Error`] with the path; what is half-written is removed.
pub fn write_files(outputs: &[Output], image: &Assembled, store: &Store, open: &OpenLayer<'_>) -> Result<(), Error> {
    for output in outputs {
        match output {
            Output::Registry(_) => {}
            Output::OciLayout(path) => layout::write(path, image, &registries(outputs), open)?,
            Output::DockerArchive { path, names } => archive::write(path, names, image, store, open)?,
        }
    }
    Ok(())
}

/// Returns the references that the image is pushed to.
pub fn registries(outputs: &[Output]) -> Vec<Reference> {
    let references = outputs.iter().filter_map(|output| match output {
        Output::Registry(reference) => Some(reference.clone()),
        Output::OciLayout(_) | Output::DockerArchive { .. } => None,
    });
    references.collect()
}
