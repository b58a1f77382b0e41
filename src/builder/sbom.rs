//! The document that tells what is installed in an image.
//!
//! *Invariant: the same image has the same document, whatever of it came from a cache.*

use std::path::Path;

use crate::image::{EntryKind, Image, Inventory, Node};
use crate::oci::{Digest, History, ImageConfig};
use crate::output;
use crate::request::{BuildRequest, SbomForm};
use crate::sbom::{Bill, Form, ImageFile, ImageFiles, LayerFacts, Subject};

use super::stage::rfc3339;
use super::{Error, Services, layers};

/// A document about an image.
#[derive(Clone, Debug)]
pub(super) struct Document {
    /// Its JSON.
    pub(super) json: serde_json::Value,
}

impl Document {
    /// Returns the text of a file of it.
    pub(super) fn text(&self) -> String {
        format!("{:#}\n", self.json)
    }
}

/// Makes the document of an image whose manifest has this digest, where it is asked for. Layers that nobody has looked at
/// are read.
pub(super) fn document(
    image: &Image,
    digest: &Digest,
    request: &BuildRequest,
    services: &Services,
) -> Result<Option<Document>, Error> {
    let Some(form) = request.sbom else { return Ok(None) };
    let files = layers::inventory_with_packages(services, &image.layers)?;
    let instructions = instructions(&image.config.history);
    let facts = image.layers.iter().enumerate().map(|(number, layer)| LayerFacts {
        digest: layer.descriptor.digest.clone(),
        diff_id: layer.diff_id.clone(),
        instruction: instructions.get(number).cloned().flatten(),
        packages: services.packages.of(&layer.descriptor.digest).unwrap_or_default(),
    });
    let destinations = output::registries(&request.outputs);
    let subject = Subject {
        name: destinations.first().map_or_else(|| "image".to_owned(), |destination| destination.name()),
        digest: digest.clone(),
        platform: image.config.platform.clone(),
        created: created(&image.config, request),
        tool_version: env!("CARGO_PKG_VERSION"),
    };
    let bill = Bill::new(subject, facts.collect(), &Files(&files));
    let form = match form {
        SbomForm::Spdx => Form::Spdx,
        SbomForm::CycloneDx => Form::CycloneDx,
    };
    Ok(Some(Document { json: form.document(&bill) }))
}

/// Returns the instruction of each layer.
fn instructions(history: &[History]) -> Vec<Option<String>> {
    history.iter().filter(|line| !line.empty_layer).map(|line| line.created_by.clone()).collect()
}

/// Returns when the image was made, in whole seconds: the same image from the cache is not another one because it is later.
fn created(config: &ImageConfig, request: &BuildRequest) -> String {
    let known = config.created.as_ref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    rfc3339(known.map_or(request.created, jiff::Timestamp::as_second))
}

/// The files of an image, as its document asks for them.
struct Files<'a>(&'a Inventory);

impl ImageFiles for Files<'_> {
    fn each(&self, act: &mut dyn FnMut(&str, ImageFile)) {
        for (path, node) in self.0.walk(Path::new("")) {
            if let Some(file) = file(node) {
                act(&path.to_string_lossy(), file);
            }
        }
    }

    fn at(&self, path: &str) -> Option<ImageFile> {
        file(self.0.resolve(Path::new(path), true).ok()?.node?)
    }

    fn has_directory(&self, path: &str) -> bool {
        self.0.get(Path::new(path)).is_some_and(Node::is_directory)
    }
}

fn file(node: &Node) -> Option<ImageFile> {
    let source = node.source.filter(|_| matches!(node.kind, EntryKind::File { .. }))?;
    Some(ImageFile { layer: usize::try_from(source.layer).ok()?, entry: source.entry })
}
