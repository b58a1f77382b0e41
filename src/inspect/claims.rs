//! What is said about an image: statements and signatures, wherever they are, and whether they hold.

use serde::Serialize;

use super::{Error, Source};
use crate::attest::{IN_TOTO, Summary};
use crate::oci::{Descriptor, Digest, Document, Manifest};
use crate::signing::{BUNDLE, LARGEST_BUNDLE, Refusal, SIGN, Trust};
use crate::trust::{self, Claim};

/// The largest statement that is read, in bytes: a list of packages and files has megabytes.
const LARGEST_STATEMENT: u64 = 64 << 20;
/// How many documents about one image are read.
const MOST: usize = 64;

/// What is said about an image.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// Statements: of how it came to be, of what is in it.
    pub statements: Vec<StatementFound>,
    /// Signatures, of the image and of statements.
    pub signatures: Vec<SignatureFound>,
}

/// A statement.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatementFound {
    /// Where it is.
    pub held: Held,
    /// The digest of its bytes; none of what is signed, which is a part of something else.
    pub digest: Option<Digest>,
    /// Whether there is a signature of it.
    pub is_signed: bool,
    /// Whether it is about this image, by digest.
    pub is_about_it: bool,
    /// What it says.
    #[serde(flatten)]
    pub summary: Summary,
    /// Why it cannot be read, if it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Where something is kept that is said about an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Held {
    /// Beside the image in its index, as BuildKit puts it.
    Index,
    /// In an artifact that refers to the image.
    Referrer,
    /// In a sigstore bundle that refers to the image.
    Bundle,
    /// Under a tag of cosign's.
    Tag,
}

/// A signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignatureFound {
    /// Where it is.
    pub held: Held,
    /// The type of the statement that it is of; none where the image alone is signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicate_type: Option<String>,
    /// Whether it holds.
    #[serde(flatten)]
    pub state: State,
}

/// Whether a signature holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// Nobody has said who must have signed.
    NotChecked,
    /// It holds.
    Holds {
        /// Whose it is.
        by: String,
        /// The name that it gives the image, if it gives one.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// It does not hold.
    Refused {
        /// Why.
        reason: String,
    },
}

/// Finds what is said about an image; `beside` are the manifests of documents that stand beside it in an index.
pub(super) async fn find(
    source: &Source,
    image: &Digest,
    beside: &[&Descriptor],
    trust: Option<&Trust>,
) -> Result<Found, Error> {
    let mut found = Found::default();
    for manifest in beside.iter().take(MOST) {
        statements(source, (manifest, Held::Index), image, &mut found).await?;
    }
    let referrers = source.referrers(image).await?;
    for referrer in referrers.iter().filter(|one| one.artifact_type.as_deref() == Some(IN_TOTO)).take(MOST) {
        statements(source, (referrer, Held::Referrer), image, &mut found).await?;
    }
    for claim in claims(source, image, &referrers).await? {
        add_claim(claim, (image, trust), &mut found);
    }
    Ok(found)
}

/// Reads the statements of a manifest that nobody has signed.
async fn statements(
    source: &Source,
    (manifest, held): (&Descriptor, Held),
    image: &Digest,
    found: &mut Found,
) -> Result<(), Error> {
    let Document::Manifest(Manifest { layers, .. }) = source.document(manifest).await? else { return Ok(()) };
    for layer in layers.iter().filter(|layer| layer.media_type == IN_TOTO).take(MOST) {
        let digest = Some(layer.digest.clone());
        let (summary, error) = if layer.size > LARGEST_STATEMENT {
            (Summary::default(), Some(format!("it has {} bytes, more than {LARGEST_STATEMENT}", layer.size)))
        } else {
            read(&source.blob(layer, LARGEST_STATEMENT).await?)
        };
        let is_about_it = summary.is_about(image);
        found.statements.push(StatementFound { held, digest, is_signed: false, is_about_it, summary, error });
    }
    Ok(())
}

fn read(bytes: &[u8]) -> (Summary, Option<String>) {
    match Summary::parse(bytes) {
        Ok(summary) => (summary, None),
        Err(error) => (Summary::default(), Some(format!("it is malformed: {error}"))),
    }
}

/// Reads what is signed.
async fn claims(
    source: &Source,
    image: &Digest,
    referrers: &[Descriptor],
) -> Result<Vec<Result<Claim, Refusal>>, Error> {
    if let Source::Registry { client, reference } = source {
        return Ok(trust::claims(client, reference, image).await?);
    }
    let mut claims = Vec::new();
    for referrer in referrers.iter().filter(|one| one.artifact_type.as_deref() == Some(BUNDLE)).take(MOST) {
        let Document::Manifest(Manifest { layers, .. }) = source.document(referrer).await? else { continue };
        if let Some(layer) = layers.iter().find(|layer| layer.media_type == BUNDLE) {
            claims.push(Claim::of_bundle(&source.blob(layer, LARGEST_BUNDLE).await?));
        }
    }
    Ok(claims)
}

fn add_claim(claim: Result<Claim, Refusal>, (image, trust): (&Digest, Option<&Trust>), found: &mut Found) {
    let refused = |refusal: Refusal| State::Refused { reason: refusal.to_string() };
    let claim = match claim {
        Ok(claim) => claim,
        Err(refusal) => {
            let state = refused(refusal);
            return found.signatures.push(SignatureFound { held: Held::Bundle, predicate_type: None, state });
        }
    };
    let held = if claim.is_bundle() { Held::Bundle } else { Held::Tag };
    let statement = claim.statement();
    let (summary, error) = statement.as_deref().map_or_else(Default::default, read);
    let predicate_type = Some(summary.predicate_type.clone()).filter(|kind| !kind.is_empty() && kind != SIGN);
    let state = match trust {
        None => State::NotChecked,
        Some(trust) => match claim.verify(image, trust) {
            Ok(signed) => State::Holds { by: signed.by, name: signed.name },
            Err(refusal) => refused(refusal),
        },
    };
    found.signatures.push(SignatureFound { held, predicate_type: predicate_type.clone(), state });
    if predicate_type.is_some() || error.is_some() {
        let is_about_it = summary.is_about(image);
        found.statements.push(StatementFound { held, digest: None, is_signed: true, is_about_it, summary, error });
    }
}
