//! What is said about an image, when the image is there and nobody has it yet.
//!
//! *Invariant: where nothing was asked for, nothing is added, and the image is delivered as it would be without.*

use crate::attest::provenance::SLSA_PROVENANCE;
use crate::attest::{Artifact, Attachment, Kind, PREDICATE_TYPE, Statement, Subject};
use crate::oci::{Descriptor, Digest, Reference, purl};
use crate::outcome::{Attested, AttestedDocument, StepDone};
use crate::output::Assembled;
use crate::request::{AttestationFormat, BuildRequest, Provenance};
use crate::trust::BUNDLED_PREDICATE_TYPE;

use super::attempt::Setting;
use super::{Error, Services, provenance, sbom, signatures};

/// Adds to an image what is said about it: `sbom` is what is installed in it, and `steps` are those that made it.
pub(super) fn attached(
    image: Assembled,
    sbom: Option<&sbom::Document>,
    steps: &[StepDone],
    setting: &Setting<'_>,
    services: &Services,
) -> Result<Assembled, Error> {
    let request = setting.request;
    if !request.attestations.is_wanted() {
        return Ok(image);
    }
    let statements = statements(&image, sbom, steps, setting, services)?;
    let attachments = attachments(&statements, &image.manifest, request, services)?;
    Ok(Assembled { attachments, ..image })
}

/// Makes the statements that were asked for, each about this image.
fn statements(
    image: &Assembled,
    sbom: Option<&sbom::Document>,
    steps: &[StepDone],
    setting: &Setting<'_>,
    services: &Services,
) -> Result<Vec<Statement>, Error> {
    let wanted = &setting.request.attestations;
    let (mut statements, subjects) = (Vec::new(), subjects(image, setting.request));
    if wanted.provenance != Provenance::Off {
        let provenance = provenance::provenance(setting, steps, services);
        statements.push(Statement::new(subjects.clone(), SLSA_PROVENANCE, &provenance).map_err(Error::Attest)?);
    }
    if let Some(sbom) = sbom.filter(|_| wanted.sbom.is_some()) {
        statements.push(Statement::new(subjects, sbom.form.predicate_type(), &sbom.json).map_err(Error::Attest)?);
    }
    Ok(statements)
}

/// Returns what statements are about: the image, by the name of each destination; only its digest counts.
pub(super) fn subjects(image: &Assembled, request: &BuildRequest) -> Vec<Subject> {
    let named = |reference: &Reference| Subject {
        name: purl::image(reference, Some(&image.platform)),
        digest: image.manifest.digest.clone(),
    };
    let subjects: Vec<Subject> = request.attestations.names.iter().map(named).collect();
    let nameless = Subject { name: "_".to_owned(), digest: image.manifest.digest.clone() };
    if subjects.is_empty() { vec![nameless] } else { subjects }
}

/// Makes of statements what is pushed. An index has the bare statements in any case, since those who read indexes know
/// no other.
fn attachments(
    statements: &[Statement],
    subject: &Descriptor,
    request: &BuildRequest,
    services: &Services,
) -> Result<Vec<Attachment>, Error> {
    match request.attestations.format {
        _ if statements.is_empty() => Ok(Vec::new()),
        AttestationFormat::Referrer => {
            let refer = |statement| Ok(Attachment::referrer(document(statement, request, services)?, subject));
            statements.iter().map(refer).collect()
        }
        AttestationFormat::Index => {
            Ok(vec![Attachment::in_index(statements.iter().map(Artifact::of).collect(), subject)])
        }
    }
}

/// Makes of a statement the document that refers to the image: signed, where somebody signs.
pub(super) fn document(statement: &Statement, request: &BuildRequest, services: &Services) -> Result<Artifact, Error> {
    let Some(signing) = &services.signing else { return Ok(Artifact::of(statement)) };
    let (artifact, signed) = services.wait(signing.statement(statement))??;
    signatures::keep(statement, &signed, request, services)?;
    Ok(artifact)
}

/// Tells of what was attached, for results.
pub(super) fn told(attachments: &[Attachment]) -> Vec<Attested> {
    let tell = |attachment: &Attachment| Attested {
        manifest: attachment.write(attachment.form()).descriptor,
        subject: attachment.subject.digest.clone(),
        is_in_index: attachment.kind == Kind::InIndex,
        is_offered: false,
        documents: attachment.artifacts.iter().map(document_told).collect(),
    };
    attachments.iter().map(tell).collect()
}

fn document_told(artifact: &Artifact) -> AttestedDocument {
    // A bundle, in which the statement is signed, tells it by another name.
    let names = [PREDICATE_TYPE, BUNDLED_PREDICATE_TYPE];
    let predicate_type = names.iter().find_map(|name| artifact.annotations.get(*name)).cloned();
    let (media_type, content) = (artifact.media_type.clone(), artifact.content.clone());
    AttestedDocument { predicate_type, media_type, content }
}

/// Returns as many attestations as a build may have: their digests have one length.
pub(super) fn expected(request: &BuildRequest) -> Vec<Attested> {
    let count = request.attestations.documents();
    let count = if request.attestations.makes_index() { count.min(1) } else { count };
    let count = count + usize::from(request.attestations.offers_provenance);
    let digest = Digest::of(b"");
    let one = Attested {
        manifest: Descriptor::new("", digest.clone(), 0),
        subject: digest,
        is_in_index: false,
        is_offered: false,
        documents: Vec::new(),
    };
    vec![one; count * request.platforms.len()]
}
