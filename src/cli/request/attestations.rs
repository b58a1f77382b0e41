//! What is said about the image.

use super::results::output_path;
use super::{UsageError, legacy};
use crate::cli::args::{Args, AttestationFormatName, ProvenanceName};
use crate::cli::env::Environment;
use crate::oci::{Platform, Reference};
use crate::output;
use crate::request::{
    AttestationFiles, AttestationFormat, AttestationRequest, ImageForm, ImageFormat, Output, Provenance,
};

/// Who builds, where nobody says it better.
const BUILDER: &str = env!("CARGO_PKG_REPOSITORY");
/// With which Docker's users say that nothing is said unasked.
/// Source: <https://docs.docker.com/build/building/variables/>.
const NO_DEFAULT: &str = "BUILDX_NO_DEFAULT_ATTESTATIONS";

/// Decides what is said, of which names, and in which files.
pub(super) fn attestations(
    args: &Args,
    (outputs, form): (&[Output], &ImageForm),
    platforms: &[Platform],
    environment: &Environment,
) -> Result<(AttestationRequest, Option<AttestationFiles>), UsageError> {
    let given = &args.attestations;
    let text = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    let trace = environment.trace.map(|trace| format!("{}-{}", trace.trace_id(), trace.span_id()));
    let (provenance, offers_provenance) = provenance(args, outputs, environment)?;
    let request = AttestationRequest {
        format: match given.attestation_format {
            AttestationFormatName::Referrer => AttestationFormat::Referrer,
            AttestationFormatName::Index => AttestationFormat::Index,
        },
        provenance,
        offers_provenance,
        sbom: super::sbom::form(&args.sbom)?.filter(|_| args.sbom.sbom_attach),
        builder_id: text(&given.builder_id).unwrap_or_else(|| BUILDER.to_owned()),
        invocation_id: text(&given.invocation_id).or(trace),
        names: names(outputs),
    };
    if request.makes_index() && form.format == ImageFormat::Docker {
        let reason = "Docker's lists hold no attestations; choose the format OCI, or --attestation-format=referrer";
        let (first, second) = ("--attestation-format=index", "--image-format=docker");
        return Err(UsageError::Conflict { first, second, reason: reason.to_owned() });
    }
    if given.attestations_dir.is_some() && !request.is_wanted() {
        let message = "--attestations-dir needs something that is said, such as --provenance=min or --sbom=spdx";
        return Err(UsageError::Missing { message });
    }
    Ok((request, files(args, platforms, environment)?))
}

/// Decides how much is told of how the image came to be, and whether that is only offered. Who names the form or the
/// directory of documents has asked for them.
fn provenance(args: &Args, outputs: &[Output], environment: &Environment) -> Result<(Provenance, bool), UsageError> {
    let given = &args.attestations;
    match given.provenance {
        ProvenanceName::Off => Ok((Provenance::Off, false)),
        ProvenanceName::Min => Ok((Provenance::Min, false)),
        ProvenanceName::Max => Ok((Provenance::Max, false)),
        ProvenanceName::Auto if legacy::switch(NO_DEFAULT, environment)?.unwrap_or(false) => {
            Ok((Provenance::Off, false))
        }
        ProvenanceName::Auto
            if given.attestations_dir.is_some() || given.attestation_format == AttestationFormatName::Index =>
        {
            Ok((Provenance::Min, false))
        }
        // A second manifest in a layout would be in the way of those who take its only image, whatever its name.
        ProvenanceName::Auto => Ok((Provenance::Off, !output::registries(outputs).is_empty())),
    }
}

/// Decides where the documents are written.
fn files(
    args: &Args,
    platforms: &[Platform],
    environment: &Environment,
) -> Result<Option<AttestationFiles>, UsageError> {
    let working = &environment.directories.working;
    let directory = output_path("--attestations-dir", args.attestations.attestations_dir.as_deref(), working)?;
    let parts = match platforms {
        [_] => Vec::new(),
        several => several.iter().map(AttestationFiles::part).collect(),
    };
    Ok(directory.map(|directory| AttestationFiles { directory, parts }))
}

/// Returns what the image is called at all of its destinations, each once.
fn names(outputs: &[Output]) -> Vec<Reference> {
    let mut names: Vec<Reference> = Vec::new();
    for output in outputs {
        let own = match output {
            Output::Registry(reference) => std::slice::from_ref(reference),
            Output::Layout { names, .. } | Output::Archive { names, .. } => names,
            Output::Tar(_) | Output::Directory { .. } => &[],
        };
        names.extend(own.iter().cloned());
    }
    let mut distinct = Vec::new();
    for name in names {
        if !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    distinct
}
