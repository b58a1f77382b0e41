//! What is said about an image, when the image is there and nobody has it yet.
//!
//! *Invariant: where nothing was asked for, nothing is added, and the image is delivered as it would be without.*

use crate::attest::{Artifact, Attachment, Kind, Statement, Subject, purl};
use crate::oci::{Descriptor, Reference};
use crate::outcome::Attested;
use crate::output::{self, Assembled};
use crate::request::{AttestationFormat, BuildRequest};

use super::attempt::Setting;
use super::{Error, Services, signatures};

/// Adds to an image what is said about it.
pub(super) fn attached(image: Assembled, setting: &Setting<'_>, services: &Services) -> Result<Assembled, Error> {
    let request = setting.request;
    if !request.attestations.is_wanted() {
        return Ok(image);
    }
    let statements = statements(&image, setting, services)?;
    let attachments = attachments(&statements, &image.manifest, request, services)?;
    Ok(Assembled { attachments, ..image })
}

/// Makes the statements that were asked for, each about this image.
fn statements(image: &Assembled, setting: &Setting<'_>, _services: &Services) -> Result<Vec<Statement>, Error> {
    let _subjects = subjects(image, setting.request);
    Ok(Vec::new())
}

/// Returns what statements are about: the image, by the name of each destination; only its digest counts.
fn subjects(image: &Assembled, request: &BuildRequest) -> Vec<Subject> {
    let named = |reference: &Reference| Subject {
        name: purl::image(reference, Some(&image.platform)),
        digest: image.manifest.digest.clone(),
    };
    let subjects: Vec<Subject> = output::registries(&request.outputs).iter().map(named).collect();
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
fn document(statement: &Statement, request: &BuildRequest, services: &Services) -> Result<Artifact, Error> {
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
    };
    attachments.iter().map(tell).collect()
}
