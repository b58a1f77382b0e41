//! What is installed in an image: the findings of its layers, as far as the files they are in are still there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::layer::{FileRecord, LayerPackages};
use super::package::{Distribution, Kind, Package};
use super::purl::purl;
use crate::oci::{DiffId, Digest, Platform};

/// The image that a document is about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its name, without a tag or a digest.
    pub name: String,
    /// Its manifest's digest.
    pub digest: Digest,
    /// What it is for.
    pub platform: Platform,
    /// What the document has as the time it was made, RFC 3339 in whole seconds and UTC.
    pub created: String,
    /// The version of this program.
    pub tool_version: &'static str,
}

impl Subject {
    /// Returns what no document of another image, or of another version of this program, has.
    pub(super) fn identity(&self) -> Digest {
        Digest::of(format!("{}@{} {}", self.name, self.digest, self.tool_version).as_bytes())
    }
}

/// A layer of the image.
#[derive(Clone, Debug)]
pub struct LayerFacts {
    /// The compressed blob's digest.
    pub digest: Digest,
    /// The tar's digest.
    pub diff_id: DiffId,
    /// The instruction that made it, as the image's history has it.
    pub instruction: Option<String>,
    /// What was found in it.
    pub packages: Arc<LayerPackages>,
}

/// A file of the image: where its content comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageFile {
    /// The number of the layer, from 0 for the lowest.
    pub layer: usize,
    /// The number of its entry there, from 0.
    pub entry: u32,
}

/// Which files the image has.
pub trait ImageFiles {
    /// Calls `act` with the path of each regular file, relative to the root.
    fn each(&self, act: &mut dyn FnMut(&str, ImageFile));

    /// Returns the regular file that a path leads to, through symbolic links too.
    fn at(&self, path: &str) -> Option<ImageFile>;

    /// Tells whether there is a directory.
    fn has_directory(&self, path: &str) -> bool;
}

/// A package of the image.
#[derive(Clone, Debug)]
pub struct Component {
    /// The package.
    pub package: Package,
    /// Its URL, which no other one of the document has.
    pub purl: String,
    /// The files that record it, sorted.
    pub locations: Vec<String>,
    /// The number of the first layer that records it.
    pub layer: usize,
}

/// What could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    /// The file.
    pub path: String,
    /// The number of its layer.
    pub layer: usize,
    /// Why, or what of it.
    pub text: String,
}

impl Remark {
    /// Says it in one line.
    pub(super) fn said(&self) -> String {
        format!("/{}: {}", self.path, self.text)
    }
}

/// What is installed in an image.
#[derive(Clone, Debug)]
pub struct Bill {
    /// The image.
    pub subject: Subject,
    /// Its layers, lowest first.
    pub layers: Vec<LayerFacts>,
    /// Which distribution it is.
    pub distribution: Option<Distribution>,
    /// What is installed, sorted by URL.
    pub components: Vec<Component>,
    /// What could not be read, sorted by path.
    pub remarks: Vec<Remark>,
}

impl Bill {
    /// Lays what was found in layers over each other; of an image with these files.
    pub fn new(subject: Subject, layers: Vec<LayerFacts>, files: &dyn ImageFiles) -> Self {
        let distribution = ["etc/os-release", "usr/lib/os-release"]
            .iter()
            .find_map(|path| record(&layers, files.at(path)?)?.findings.distribution.clone());
        let mut bill = Self { subject, layers, distribution, components: Vec::new(), remarks: Vec::new() };
        let mut gathered = Gathered::default();
        let first = FirstLayers::new(&bill.layers);
        let mut seen = HashSet::new();
        files.each(&mut |path, file| {
            // Of a file with several names, one is told.
            if let Some(record) = record(&bill.layers, file).filter(|_| seen.insert(file)) {
                gathered.file(&bill, (path, file, record), &first, files);
            }
        });
        bill.components = gathered.components.into_values().collect();
        bill.remarks = gathered.remarks;
        bill.remarks.sort();
        bill
    }
}

fn record(layers: &[LayerFacts], file: ImageFile) -> Option<&FileRecord> {
    layers.get(file.layer)?.packages.file(file.entry)
}

#[derive(Default)]
struct Gathered {
    components: BTreeMap<String, Component>,
    remarks: Vec<Remark>,
}

impl Gathered {
    /// Adds what a file records.
    fn file(
        &mut self,
        bill: &Bill,
        (path, file, record): (&str, ImageFile, &FileRecord),
        first: &FirstLayers<'_>,
        files: &dyn ImageFiles,
    ) {
        let remark = |text: &String| Remark { path: path.to_owned(), layer: file.layer, text: text.clone() };
        self.remarks.extend(record.findings.notes.iter().map(remark));
        let packages = &record.findings.packages;
        let is_installed_beside =
            packages.iter().any(|package| package.is_locked_only) && files.has_directory(&beside(path, "node_modules"));
        for package in packages.iter().filter(|_| !is_installed_beside) {
            let layer = first.of(&record.path, package).unwrap_or(file.layer).min(file.layer);
            let url = purl(package, bill.distribution.as_ref());
            let component = self.components.entry(url.clone()).or_insert_with(|| Component {
                package: package.clone(),
                purl: url,
                locations: Vec::new(),
                layer,
            });
            // What is installed is more than a lock that names it.
            component.package.is_locked_only &= package.is_locked_only;
            component.layer = component.layer.min(layer);
            if component.package.licences.is_empty() {
                component.package.licences = licences(bill, package, files);
            }
            component.locations.push(path.to_owned());
            component.locations.sort();
            component.locations.dedup();
        }
    }
}

/// Returns what a package states of its licence, or what stands beside its documentation.
fn licences(bill: &Bill, package: &Package, files: &dyn ImageFiles) -> Vec<String> {
    if package.kind != Kind::Deb || !package.licences.is_empty() {
        return package.licences.clone();
    }
    let file = files.at(&format!("usr/share/doc/{}/copyright", package.name));
    file.and_then(|file| record(&bill.layers, file)).map(|record| record.findings.licences.clone()).unwrap_or_default()
}

fn beside(path: &str, name: &str) -> String {
    match path.rsplit_once('/') {
        Some((directory, _)) => format!("{directory}/{name}"),
        None => name.to_owned(),
    }
}

/// Which layer was the first to have a package in a file: a list that a later layer has again, longer, is the later
/// layer's, but what it begins with is not.
struct FirstLayers<'a>(HashMap<(&'a str, &'a str), Vec<(usize, &'a Package)>>);

impl<'a> FirstLayers<'a> {
    fn new(layers: &'a [LayerFacts]) -> Self {
        let mut first: HashMap<(&str, &str), Vec<(usize, &Package)>> = HashMap::new();
        for (number, layer) in layers.iter().enumerate() {
            for file in layer.packages.files() {
                for package in &file.findings.packages {
                    let known = first.entry((&file.path, &package.name)).or_default();
                    if !known.iter().any(|(_, other)| other.is_same(package)) {
                        known.push((number, package));
                    }
                }
            }
        }
        Self(first)
    }

    fn of(&self, path: &str, package: &Package) -> Option<usize> {
        let known = self.0.get(&(path, package.name.as_str()))?;
        known.iter().find(|(_, other)| other.is_same(package)).map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests;
