//! The document that tells what is installed in an image.
//!
//! *Invariant: the same image has the same document, whatever of it came from a cache.*

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::image::{self, EntryKind, Image, Inventory, Node, Source};
use crate::oci::{Digest, History, ImageConfig};
use crate::output;
use crate::request::{BuildRequest, SbomForm};
use crate::sbom::{self, Bill, Form, ImageFile, ImageFiles, LayerFacts, LayerPackages, LayerScan, Subject};

use super::stage::rfc3339;
use super::{Error, Services, layers, provenance};

/// How much of a file is looked at at a time.
const PIECE: usize = 64 << 10;

/// A document about an image.
#[derive(Clone, Debug)]
pub(super) struct Document {
    /// Which form it has.
    pub(super) form: Form,
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
    let linked = linked(&files, image, request, services)?;
    let instructions = instructions(&image.config.history, request);
    let facts = image.layers.iter().enumerate().map(|(number, layer)| LayerFacts {
        digest: layer.descriptor.digest.clone(),
        diff_id: layer.diff_id.clone(),
        instruction: instructions.get(number).cloned().flatten(),
        packages: {
            let mut packages = services.packages.of(&layer.descriptor.digest).unwrap_or_default();
            if let Some(more) = linked.get(&number) {
                Arc::make_mut(&mut packages).extend(more.clone());
            }
            packages
        },
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
    Ok(Some(Document { form, json: form.document(&bill) }))
}

/// Reads the records that are hard links to files whose own names tell nothing, as pnpm makes them in its store: their
/// contents passed unnoticed. Returns what is in them by the number of the layer.
fn linked(
    files: &Inventory,
    image: &Image,
    request: &BuildRequest,
    services: &Services,
) -> Result<BTreeMap<usize, LayerPackages>, Error> {
    let mut wanted: BTreeMap<Source, (PathBuf, u64)> = BTreeMap::new();
    let known: Vec<_> = image.layers.iter().map(|layer| services.packages.of(&layer.descriptor.digest)).collect();
    for (path, node) in files.walk(Path::new("")) {
        let (EntryKind::File { size }, Some(source)) = (&node.kind, node.source) else { continue };
        let layer = known.get(usize::try_from(source.layer).unwrap_or(usize::MAX)).and_then(Option::as_ref);
        let is_known = || layer.is_some_and(|layer| layer.file(source.entry).is_some());
        if node.links > 1 && sbom::is_record(path.as_os_str().as_bytes(), *size) && !is_known() {
            wanted.entry(source).or_insert((path, *size));
        }
    }
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut scans: BTreeMap<usize, LayerScan> = BTreeMap::new();
    let spool = request.state_directory.join("sbom");
    fs::create_dir_all(&spool).map_err(|source| Error::State { action: "create", path: spool.clone(), source })?;
    let sources = wanted.keys().copied().collect();
    let mut open = |number: u32| layers::open(services, &image.layers[number as usize], services.keep_layers);
    let contents = image::extract(&mut open, &sources, &spool, &services.stop())?;
    super::files::remove_scratch(&spool)?;
    for (source, (path, size)) in wanted {
        let scan = scans.entry(usize::try_from(source.layer).unwrap_or(usize::MAX)).or_default();
        scan.begin(source.entry, path.as_os_str().as_bytes(), size);
        if let Some(mut content) = contents.open(source) {
            let mut piece = vec![0; PIECE];
            // A fault of the disk leaves a note that the file was not seen to its end.
            while let Ok(count @ 1..) = content.read(&mut piece)
                && scan.content(&piece[..count])
            {}
        }
        scan.end(None);
    }
    Ok(scans.into_iter().map(|(layer, scan)| (layer, scan.finish())).collect())
}

/// Returns the instruction of each layer. The history of an image names the build arguments of a RUN; those that are
/// secrets are masked here, as the provenance masks them.
fn instructions(history: &[History], request: &BuildRequest) -> Vec<Option<String>> {
    let masked = |text: &String| {
        let given = request.build_args.iter().filter(|(_, value)| !value.is_empty());
        given.fold(text.clone(), |text, (name, value)| {
            text.replace(&format!("{name}={value}"), &format!("{name}={}", provenance::shown(name, value, request)))
        })
    };
    history.iter().filter(|line| !line.empty_layer).map(|line| line.created_by.as_ref().map(masked)).collect()
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
