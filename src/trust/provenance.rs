//! Whether an image has provenance of the builder that a policy wants.
//!
//! *Invariant: provenance counts only with a signature that holds and is about the image's own digest.*

use super::claims::Judged;
use super::error;
use crate::attest::Origin;
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
    /// Tells whether it is among the claims that hold.
    pub(super) fn is_among(&self, judged: &Judged) -> bool {
        builders(judged).any(|(_, builder)| builder.as_deref() == Some(&self.builder))
    }

    /// Says what is missing; `unsigned` statements about the image nobody has signed.
    pub(super) fn missing(&self, judged: &Judged, unsigned: usize) -> String {
        let found = match builders(judged).next() {
            Some((signed, Some(builder))) => format!("that which {} has signed names the builder {builder}", signed.by),
            Some((signed, None)) => format!("that which {} has signed names no builder", signed.by),
            None if !judged.refused.is_empty() => error::found(&judged.refused),
            None if unsigned > 0 => format!("what refers to it is not signed ({unsigned} in all)"),
            None => "it has none".to_owned(),
        };
        format!("it must have {self}, and {found}")
    }
}

/// Returns those of the claims that hold and are provenance, with the builders that they name.
fn builders(judged: &Judged) -> impl Iterator<Item = (&Signed, Option<String>)> {
    judged.holding.iter().filter_map(|signed| Some((signed, builder(signed.statement.as_ref()?)?)))
}

/// Returns the builder that a statement names, if it is provenance.
fn builder(statement: &Statement) -> Option<Option<String>> {
    let origin = Origin::read(&statement.predicate_type, statement.predicate.as_deref()?.get());
    // Signed provenance that cannot be read names nobody.
    origin.map_or(Some(None), |origin| origin.map(|origin| origin.builder))
}
