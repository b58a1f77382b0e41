//! Whether an image meets the rule that a policy has for it.

use std::path::Path;

use super::policy::{Policy, Requirement, Rule};
use super::{Error, Judged, claims, is_signature, judge};
use crate::attest::IN_TOTO;
use crate::oci::{Digest, Reference};
use crate::registry::Client;
use crate::signing::{Refusal, Signed, Trust};

/// An image that is about to be used.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Its name, as the user wrote it.
    pub reference: &'a Reference,
    /// What the name leads to: the index if there is one, and the image. A signature of either counts.
    pub digests: Vec<Digest>,
}

impl Policy {
    /// Checks an image of a registry.
    ///
    /// # Errors
    /// [`Error::Untrusted`] when it does not meet its rule; another one when the registry cannot be asked.
    pub async fn check(&self, image: &Candidate<'_>, client: &Client) -> Result<(), Error> {
        let rule = self.rule(image.reference);
        for requirement in rule.requirements {
            let met = match requirement {
                Requirement::Anything => Ok(()),
                Requirement::Reject => Err("nothing is accepted there".to_owned()),
                Requirement::Unsupported(what) => Err(cannot_check(what)),
                Requirement::Provenance(wanted) => {
                    let judged = judged(image, &wanted.by, client).await?;
                    match wanted.is_among(&judged) {
                        true => Ok(()),
                        false => Err(wanted.missing(&judged, unsigned(image, client).await?)),
                    }
                }
                Requirement::Signed { by, identity } => {
                    let judged = judged(image, by, client).await?;
                    let signatures = judged.holding.iter().filter(|signed| is_signature(signed));
                    let is_meant = |signed: &Signed| identity.admits(image.reference, signed.name.as_deref());
                    match signatures.clone().any(is_meant) {
                        true => Ok(()),
                        false => {
                            let wanted = identity.wanted(image.reference);
                            Err(unmet(by, signatures.clone().next(), &judged.refused, &wanted))
                        }
                    }
                }
            };
            met.map_err(|reason| untrusted(&image.reference.to_string(), rule, reason))?;
        }
        Ok(())
    }

    /// Checks an OCI layout, which has no place for signatures.
    ///
    /// # Errors
    /// [`Error::Untrusted`] when it does not meet its rule.
    pub fn check_layout(&self, path: &Path) -> Result<(), Error> {
        let image = format!("oci-layout://{}", path.display());
        Self::check_without(self.rule_of_layout(path), &image, "a layout has no signatures")
    }

    /// Checks an image whose registry may not be asked.
    ///
    /// # Errors
    /// [`Error::Untrusted`] when it does not meet its rule.
    pub fn check_offline(&self, image: &Reference) -> Result<(), Error> {
        let why = "signatures are in registries, where nothing may go";
        Self::check_without(self.rule(image), &image.to_string(), why)
    }

    fn check_without(rule: Rule<'_>, image: &str, why: &str) -> Result<(), Error> {
        let reason = rule.requirements.iter().find_map(|requirement| match requirement {
            Requirement::Anything => None,
            Requirement::Reject => Some("nothing is accepted there".to_owned()),
            Requirement::Unsupported(what) => Some(cannot_check(what)),
            Requirement::Provenance(wanted) => Some(format!("it must have {wanted}, and {why}")),
            Requirement::Signed { .. } => Some(format!("it must be signed, and {why}")),
        });
        match reason {
            None => Ok(()),
            Some(reason) => Err(untrusted(image, rule, reason)),
        }
    }
}

fn cannot_check(what: &str) -> String {
    format!("it asks for {what}, which is not supported here")
}

fn untrusted(image: &str, rule: Rule<'_>, reason: String) -> Error {
    Error::Untrusted { image: image.to_owned(), rule: rule.name.to_owned(), reason }
}

/// Reads the claims about an image and about its index, and judges them.
async fn judged(image: &Candidate<'_>, trust: &Trust, client: &Client) -> Result<Judged, Error> {
    let mut judged = Judged::default();
    for digest in &image.digests {
        let more = judge(&claims(client, image.reference, digest).await?, digest, trust);
        judged.holding.extend(more.holding);
        judged.refused.extend(more.refused);
    }
    Ok(judged)
}

/// Counts the statements about an image that nobody has signed.
async fn unsigned(image: &Candidate<'_>, client: &Client) -> Result<usize, Error> {
    let mut count = 0;
    for digest in &image.digests {
        count += client.referrers(image.reference, digest, Some(IN_TOTO)).await?.len();
    }
    Ok(count)
}

/// Says what is missing.
fn unmet(by: &Trust, signed: Option<&Signed>, refused: &[Refusal], wanted: &str) -> String {
    match signed {
        Some(Signed { by, name: Some(name), .. }) => {
            format!("it is signed by {by}, but as {name}, and must be as {wanted}")
        }
        Some(Signed { by, .. }) => {
            format!(
                "it is signed by {by} without a name, and must be as {wanted} (signedIdentity matchDigest takes none)"
            )
        }
        None => format!("it must be signed by {by}, and {}", super::error::found(refused)),
    }
}
