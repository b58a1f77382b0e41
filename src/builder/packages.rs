//! What is installed in layers: found while their bytes pass, and kept by the layer's digest.
//!
//! *Invariant: where nobody asks, nothing is looked at. No layer is read for this that is known, or that is read anyway.*

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::cache::Inventories;
use crate::causes;
use crate::image::Watch;
use crate::oci::Digest;
use crate::progress::{Event, Reporter};
use crate::request::BuildRequest;
use crate::sbom::{LayerPackages, LayerScan, Pages};

use super::unpoisoned;

/// What is found in layers, where a build is asked for it.
#[derive(Clone)]
pub struct Packages(Option<Arc<Found>>);

struct Found {
    known: Mutex<BTreeMap<Digest, Arc<LayerPackages>>>,
    /// Where it is kept for later builds.
    inventories: Inventories,
    /// A directory of this run's, for files that are read here and there.
    directory: PathBuf,
    next_file: AtomicU64,
    reporter: Arc<dyn Reporter>,
}

impl Packages {
    /// Looks for packages where the request says so; what is found is kept in `inventories`.
    pub fn new(request: &BuildRequest, inventories: &Inventories, reporter: &Arc<dyn Reporter>) -> Self {
        let found = request.sbom.map(|_| Found {
            known: Mutex::default(),
            inventories: inventories.clone(),
            directory: request.state_directory.clone(),
            next_file: AtomicU64::new(0),
            reporter: Arc::clone(reporter),
        });
        Self(found.map(Arc::new))
    }

    /// Returns who looks at the files of a layer: of this digest, or of one that is only being made. What is found is kept
    /// for later builds if `is_kept`. None where nobody asks, or where it is known.
    pub(super) fn watch(&self, layer: Option<&Digest>, is_kept: bool) -> Option<Box<dyn Watch>> {
        let found = self.0.as_ref()?;
        if layer.is_some_and(|layer| self.knows(layer)) {
            return None;
        }
        let (layer, found) = (layer.cloned(), Arc::clone(found));
        Some(Box::new(Watcher { scan: LayerScan::default(), layer, is_kept, found, file: None }))
    }

    /// Tells whether it is known what a layer holds, by now or from earlier builds.
    pub(super) fn knows(&self, layer: &Digest) -> bool {
        self.of(layer).is_some()
    }

    /// Returns what was found in a layer, now or in earlier builds.
    pub(super) fn of(&self, layer: &Digest) -> Option<Arc<LayerPackages>> {
        let found = self.0.as_ref()?;
        if let Some(known) = unpoisoned(&found.known).get(layer) {
            return Some(Arc::clone(known));
        }
        let kept = Arc::new(found.inventories.packages(layer)?);
        unpoisoned(&found.known).insert(layer.clone(), Arc::clone(&kept));
        Some(kept)
    }
}

/// Looks at one layer.
struct Watcher {
    scan: LayerScan,
    layer: Option<Digest>,
    is_kept: bool,
    found: Arc<Found>,
    /// The current file, where it is one that is read here and there.
    file: Option<File>,
}

impl Watch for Watcher {
    fn begin(&mut self, entry: u32, path: &Path, size: u64) -> bool {
        let is_wanted = self.scan.begin(entry, path.as_os_str().as_bytes(), size);
        // One that cannot be made leaves a note in the document.
        self.file = self.scan.wants_pages().then(|| self.found.file().ok()).flatten();
        is_wanted
    }

    fn content(&mut self, bytes: &[u8]) -> bool {
        if let Some(file) = &mut self.file
            && file.write_all(bytes).is_err()
        {
            self.file = None;
        }
        self.scan.content(bytes)
    }

    fn end(&mut self) {
        match self.file.take() {
            Some(file) => self.scan.end(Some(&OnDisk(file))),
            None => self.scan.end(None),
        }
    }

    fn finish(self: Box<Self>, made: Option<&Digest>) {
        let Self { scan, layer, is_kept, found, .. } = *self;
        let Some(layer) = made.cloned().or(layer) else { return };
        let packages = scan.finish();
        if is_kept && let Err(error) = found.inventories.put_packages(&layer, &packages) {
            let error = causes::in_one_line(&error);
            let message = format!("the next build will look for packages in a layer again: {error}");
            found.reporter.report(Event::Warning { rule: "PackagesNotKept", line: None, message: &message });
        }
        unpoisoned(&found.known).insert(layer, Arc::new(packages));
    }
}

impl Found {
    /// Makes a file without a name.
    fn file(&self) -> io::Result<File> {
        let number = self.next_file.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(format!("packages-{number}"));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        fs::remove_file(&path)?;
        Ok(file)
    }
}

struct OnDisk(File);

impl Pages for OnDisk {
    fn length(&self) -> u64 {
        self.0.metadata().map_or(0, |metadata| metadata.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}
