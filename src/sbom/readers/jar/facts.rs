//! What an archive says of itself.

use crate::sbom::package::{Kind, Package};

/// What was read in one archive.
pub(super) struct Facts {
    /// The file's name without its ending.
    stem: String,
    poms: Vec<Package>,
    manifest: Vec<(String, String)>,
}

/// Tells whether a file in an archive is read.
pub(super) fn is_wanted(name: &[u8]) -> bool {
    let is_pom = || name.starts_with(b"META-INF/maven/") && name.ends_with(b"/pom.properties");
    name.eq_ignore_ascii_case(b"META-INF/MANIFEST.MF") || is_pom()
}

impl Facts {
    pub(super) fn new(path: &[u8]) -> Self {
        let path = String::from_utf8_lossy(path);
        let name = path.rsplit('/').next().unwrap_or_default();
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned();
        Self { stem, poms: Vec::new(), manifest: Vec::new() }
    }

    pub(super) fn name(&self) -> String {
        self.stem.clone()
    }

    /// Takes a file that was wanted.
    pub(super) fn text(&mut self, name: &[u8], bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        if name.ends_with(b"pom.properties") {
            self.poms.extend(pom(&text));
        } else if self.manifest.is_empty() {
            self.manifest = main_section(&text);
        }
    }

    /// Returns the archive's packages: what Maven noted, else the archive itself by its manifest and its name.
    pub(super) fn packages(&self) -> Vec<Package> {
        if !self.poms.is_empty() {
            return self.poms.clone();
        }
        let (artifact, by_name) = split(&self.stem);
        let version = ["Implementation-Version", "Bundle-Version", "Specification-Version"];
        let version = by_name.or_else(|| self.attribute(&version)).unwrap_or_default();
        let group = self.attribute(&["Implementation-Vendor-Id", "Automatic-Module-Name", "Bundle-SymbolicName"]);
        // OSGi has directives behind the name.
        let group = group.and_then(|group| Some(group.split(';').next()?.trim().to_owned()));
        let group = group.filter(|group| group.contains('.') && !group.contains(char::is_whitespace));
        let name = group.map_or_else(|| artifact.clone(), |group| format!("{group}:{artifact}"));
        let licences = self.attribute(&["Bundle-License"]).filter(|text| text.len() <= 80).into_iter().collect();
        vec![Package { licences, ..Package::new(Kind::Maven, name, version) }]
    }

    fn attribute(&self, names: &[&str]) -> Option<String> {
        let find = |name: &&str| self.manifest.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        names.iter().find_map(find).map(|(_, value)| value.clone())
    }
}

/// Splits `name-1.2.3`: the version begins with the first digit behind a dash.
fn split(stem: &str) -> (String, Option<String>) {
    let is_version = |(at, _): &(usize, &str)| stem[at + 1..].starts_with(|c: char| c.is_ascii_digit());
    match stem.match_indices('-').find(is_version) {
        Some((at, _)) => (stem[..at].to_owned(), Some(stem[at + 1..].to_owned())),
        None => (stem.to_owned(), None),
    }
}

/// Reads the properties that Maven writes.
fn pom(text: &str) -> Option<Package> {
    let value = |name: &str| {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        lines.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned()).next()
    };
    let (group, artifact, version) = (value("groupId")?, value("artifactId")?, value("version")?);
    Some(Package::new(Kind::Maven, format!("{group}:{artifact}"), version))
}

/// Returns the attributes of a manifest's first section; a line that begins with a space goes on with the one before.
fn main_section(text: &str) -> Vec<(String, String)> {
    let mut attributes: Vec<(String, String)> = Vec::new();
    for line in text.lines().take_while(|line| !line.trim().is_empty()) {
        if let (Some(rest), Some((_, value))) = (line.strip_prefix(' '), attributes.last_mut()) {
            value.push_str(rest);
        } else if let Some((name, value)) = line.split_once(": ") {
            attributes.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    attributes
}
