//! Whether an image has provenance of the builder that a policy wants.
//!
//! *Invariant: provenance counts only with a signature that holds and is about the image's own digest.*

use super::check::{Candidate, judged};
use super::{Error, error};
use crate::attest::{IN_TOTO, Origin};
use crate::registry::Client;
use crate::signing::{Signed, Statement, Trust};

/// Provenance that an image must have.
#[derive(Clone, Debug)]
pub struct Provenance {
    /// The builder that it names.
    pub builder: String,
    /// Who has signed it.
    pub by: Trust,
}

impl std::fmt::Display for Provenance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SLSA provenance of the builder {}, signed by {}", self.builder, self.by)
    }
}

impl Provenance {
    /// Checks an image of a registry; what is missing is the other result.
    ///
    /// # Errors
    /// [`Error`] when the registry cannot be asked.
    pub(super) async fn check(&self, image: &Candidate<'_>, client: &Client) -> Result<Result<(), String>, Error> {
        let judged = judged(image, &self.by, client).await?;
        let origins: Vec<(&Signed, Option<String>)> =
            judged.holding.iter().filter_map(|signed| Some((signed, builder(signed.statement.as_ref()?)?))).collect();
        if origins.iter().any(|(_, builder)| builder.as_deref() == Some(&self.builder)) {
            return Ok(Ok(()));
        }
        let found = match origins.first() {
            Some((signed, Some(builder))) => format!("that which {} has signed names the builder {builder}", signed.by),
            Some((signed, None)) => format!("that which {} has signed names no builder", signed.by),
            None if !judged.refused.is_empty() => error::found(&judged.refused),
            None => match unsigned(image, client).await? {
                0 => "it has none".to_owned(),
                count => format!("what refers to it is not signed ({count} in all)"),
            },
        };
        Ok(Err(format!("it must have {self}, and {found}")))
    }
}

/// Returns the builder that a statement names, if it is provenance.
fn builder(statement: &Statement) -> Option<Option<String>> {
    let origin = Origin::read(&statement.predicate_type, statement.predicate.as_deref()?.get());
    // Signed provenance that cannot be read names nobody.
    origin.map_or(Some(None), |origin| origin.map(|origin| origin.builder))
}

/// Counts the statements about an image that nobody has signed.
async fn unsigned(image: &Candidate<'_>, client: &Client) -> Result<usize, Error> {
    let mut count = 0;
    for digest in &image.digests {
        count += client.referrers(image.reference, digest, Some(IN_TOTO)).await?.len();
    }
    Ok(count)
}
