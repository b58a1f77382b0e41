//! Signatures for images: made, and kept beside them in a registry.

use serde_json::json;

use super::claims::{self, Claim};
use super::classic::{self, ENVELOPE, PAYLOAD};
use super::{ATTESTATIONS, Error, SIGNATURES, tag};
use crate::attest::{Artifact, Attachment, Statement, Subject};
use crate::oci::{Descriptor, Digest, Reference};
use crate::registry::Client;
use crate::signing::{BUNDLE, Payload, SIGN, SIGNATURE, Signature, SignedStatement, Signer, Trust};

/// In which forms signatures are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forms {
    /// Under cosign's tags.
    Tag,
    /// As bundles that refer to the image.
    Bundle,
    /// In both.
    #[default]
    Both,
}

impl Forms {
    fn has_tag(self) -> bool {
        self != Self::Bundle
    }

    fn has_bundle(self) -> bool {
        self != Self::Tag
    }
}

/// What signs images, and in which forms.
pub struct Signing {
    /// What signs.
    pub signer: Signer,
    /// In which forms.
    pub forms: Forms,
}

/// What became of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signatures {
    /// Where they are.
    pub places: Vec<String>,
    /// Whether all of them were there already.
    pub existed: bool,
}

impl Signing {
    /// Signs an image in a repository, where the image need not be yet; in a form in which the same key has signed it
    /// already not again.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn sign(&self, client: &Client, repository: &Reference, image: &Descriptor) -> Result<Signatures, Error> {
        let mut signatures = Signatures { places: Vec::new(), existed: true };
        if self.forms.has_tag() {
            signatures.existed &= self.sign_in_tag(client, repository, &image.digest).await?;
            signatures.places.push(tag(repository, &image.digest, SIGNATURES).to_string());
        }
        if self.forms.has_bundle() {
            signatures.existed &= self.sign_by_bundle(client, repository, image).await?;
            signatures.places.push("a bundle that refers to it".to_owned());
        }
        Ok(signatures)
    }

    /// Returns whether the same key has signed the same before.
    async fn sign_in_tag(&self, client: &Client, repository: &Reference, image: &Digest) -> Result<bool, Error> {
        let place = tag(repository, image, SIGNATURES);
        let payload = Payload { image: image.clone(), name: repository.name() };
        let described = Descriptor::of(PAYLOAD, &payload.to_bytes());
        let listed = classic::layers(client, &place).await?;
        let public = self.signer.public().await?;
        let is_same = |layer: &Descriptor| {
            let read = Signature::read(payload.to_bytes().into(), &layer.annotations);
            let by = public.zip(read.ok());
            layer.digest == described.digest
                && by.is_some_and(|(key, read)| key.has_signed(&read.payload, &read.signature))
        };
        if listed.iter().any(is_same) {
            return Ok(true);
        }
        let signature = self.signer.payload(&payload).await?;
        let layer = Descriptor { annotations: signature.annotations(), ..described };
        classic::add(client, &place, (listed, layer, signature.payload)).await?;
        Ok(false)
    }

    async fn sign_by_bundle(&self, client: &Client, repository: &Reference, image: &Descriptor) -> Result<bool, Error> {
        if let Some(key) = self.signer.public().await? {
            let trust = Trust::Keys(vec![key.clone()]);
            let claims = claims::claims(client, repository, &image.digest).await?;
            let is_same = |claim: &Claim| {
                matches!(claim, Claim::Bundle(_))
                    && claim.verify(&image.digest, &trust).is_ok_and(|signed| claims::is_signature(&signed))
            };
            if claims.iter().flatten().any(is_same) {
                return Ok(true);
            }
        }
        let subject = Subject { name: repository.name(), digest: image.digest.clone() };
        let statement = Statement::new(vec![subject], SIGN, &json!({})).map_err(Error::Statement)?;
        let signed = self.signer.statement(&statement.to_bytes()).await?;
        client.push_attachment(repository, &Attachment::referrer(artifact(&signed, SIGN), image)).await?;
        Ok(false)
    }

    /// Signs a statement; the artifact that it becomes is a bundle where that form is wanted.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn statement(&self, statement: &Statement) -> Result<(Artifact, SignedStatement), Error> {
        let signed = self.signer.statement(&statement.to_bytes()).await?;
        let artifact = match self.forms.has_bundle() {
            true => artifact(&signed, &statement.predicate_type),
            false => Artifact::of(statement),
        };
        Ok((artifact, signed))
    }

    /// Keeps signed statements about an image under cosign's tag, where that form is wanted.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn keep(
        &self,
        client: &Client,
        (repository, image): (&Reference, &Digest),
        (predicate_type, signed): (&str, &SignedStatement),
    ) -> Result<(), Error> {
        if !self.forms.has_tag() {
            return Ok(());
        }
        let place = tag(repository, image, ATTESTATIONS);
        let content = bytes::Bytes::from(signed.envelope.to_bytes());
        let mut annotations = signed.evidence.annotations();
        annotations.insert("predicateType".to_owned(), predicate_type.to_owned());
        // Cosign looks for the annotation; the signature is in the envelope.
        annotations.insert(SIGNATURE.to_owned(), String::new());
        let layer = Descriptor { annotations, ..Descriptor::of(ENVELOPE, &content) };
        // What was said of the same image before is replaced by what is said now.
        let mut listed = classic::layers(client, &place).await?;
        listed.retain(|known| known.annotations.get("predicateType").is_none_or(|known| known != predicate_type));
        classic::add(client, &place, (listed, layer, content)).await
    }
}

/// The annotation of a bundle's manifest that tells what kind of statement is in it. Source: cosign,
/// `pkg/oci/remote/write.go`.
pub const BUNDLED_PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";

/// Makes the artifact that a bundle is. Source: cosign, `pkg/oci/remote/write.go`.
fn artifact(signed: &SignedStatement, predicate_type: &str) -> Artifact {
    let annotations = [("dev.sigstore.bundle.content", "dsse-envelope"), (BUNDLED_PREDICATE_TYPE, predicate_type)];
    Artifact {
        artifact_type: BUNDLE.to_owned(),
        media_type: BUNDLE.to_owned(),
        content: signed.bundle.to_bytes().into(),
        annotations: annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
    }
}
