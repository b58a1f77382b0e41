//! The documents about an image, as files.

use std::path::{Path, PathBuf};

use super::super::Error;
use super::failure;
use crate::attest::IN_TOTO;
use crate::attest::provenance::SLSA_PROVENANCE;
use crate::outcome::{AttestedDocument, BuildOutcome};
use crate::place::Places;
use crate::request::AttestationFiles;
use crate::sbom::Form;

/// What documents are called, by what they say.
const NAMES: [(&str, &str); 3] = [
    (SLSA_PROVENANCE, "provenance"),
    (Form::Spdx.predicate_type(), "sbom.spdx"),
    (Form::CycloneDx.predicate_type(), "sbom.cyclonedx"),
];
/// What is behind the names of documents that are signed.
const SIGNED: &str = "sigstore.json";

/// Returns all files that documents may be in.
pub(super) fn paths(files: &AttestationFiles) -> Vec<PathBuf> {
    let none = [String::new()];
    let parts = if files.parts.is_empty() { &none[..] } else { &files.parts };
    let ends = NAMES.iter().flat_map(|(_, name)| ["json", SIGNED].map(|end| format!("{name}.{end}")));
    let ends: Vec<String> = ends.collect();
    parts.iter().flat_map(|part| ends.iter().map(move |end| files.directory.join(part).join(end))).collect()
}

/// Writes the documents, and returns where.
pub(super) fn write(outcome: &BuildOutcome, files: &AttestationFiles, places: &Places) -> Result<Vec<String>, Error> {
    let mut written = Vec::new();
    for attested in &outcome.attested {
        let image = outcome.images.iter().find(|image| image.digest == attested.subject);
        let platform = image.and_then(|image| image.platform.as_ref());
        let part = platform.filter(|_| !files.parts.is_empty()).map(AttestationFiles::part);
        for document in &attested.documents {
            let Some(name) = name(document) else { continue };
            let directory = files.directory.join(part.as_deref().unwrap_or_default());
            let path = directory.join(&name);
            place(&files.directory, part.as_deref(), &name, &document.content, places)
                .map_err(failure("write", &path))?;
            written.push(path.display().to_string());
        }
    }
    Ok(written)
}

fn place(directory: &Path, part: Option<&str>, name: &str, content: &[u8], places: &Places) -> std::io::Result<()> {
    let folder = places.folder(directory)?;
    match part {
        Some(part) => folder.below(part).file(name).write(content),
        None => folder.file(name).write(content),
    }
}

fn name(document: &AttestedDocument) -> Option<String> {
    let wanted = document.predicate_type.as_deref()?;
    let (_, name) = NAMES.iter().find(|(kind, _)| *kind == wanted)?;
    let end = if document.media_type == IN_TOTO { "json" } else { SIGNED };
    Some(format!("{name}.{end}"))
}
