//! `yadokari verify`: whether an image is signed by whom it must be.

use std::sync::Arc;

use serde_json::json;

use super::args::VerifyArgs;
use super::env::Environment;
use super::exit::{Failure, Kind};
use super::report::Report;
use super::work::{print, wait};
use super::{request, services, signing};
use crate::oci::Reference;
use crate::signing::{SIGN, Signed};
use crate::trust::{self, Judged};

/// Verifies, and tells on standard output whose signatures hold.
pub(super) fn run(args: &VerifyArgs, environment: &Environment, report: &Arc<Report>) -> Result<(), Failure> {
    let reference: Reference = args.image.parse().map_err(|error| Failure::from_error(Kind::Usage, &error))?;
    let nobody = "say who must have signed: a public key with --key, or --certificate-identity";
    let network = request::registry_network(&args.registry, environment)?;
    let (agent, client) = services::client(&network, report.clone())?;
    let (image, holding) = wait(async {
        let trust = signing::trusted(&args.who, environment, &network, &agent).await?;
        let trust = trust.ok_or_else(|| Failure::new(Kind::Usage, nobody))?;
        let found = client.manifest(&reference).await.map_err(trust::Error::from)?;
        let Some((_, digest)) = found else {
            return Err(trust::Error::NoImage { reference: reference.to_string() }.into());
        };
        let image = reference.with_digest(digest.clone());
        let claims = trust::claims(&client, &reference, &digest).await?;
        let Judged { mut holding, refused } = trust::judge(&claims, &digest, &trust);
        holding.retain(|signed| is_wanted(signed, args.predicate_type.as_deref()));
        if holding.is_empty() {
            return Err(trust::Error::unsigned(&image, &refused).into());
        }
        Ok((image, holding))
    })?;
    print(&if args.json { as_json(&image, &holding) } else { as_text(&image, &holding) })
}

/// Tells whether this is a statement of the type that is asked for, or a signature where none is.
fn is_wanted(signed: &Signed, predicate_type: Option<&str>) -> bool {
    match predicate_type.filter(|text| !text.is_empty()) {
        Some(wanted) => signed.statement.as_ref().is_some_and(|statement| statement.predicate_type == wanted),
        None => trust::is_signature(signed),
    }
}

fn as_text(image: &Reference, holding: &[Signed]) -> String {
    let line = |signed: &Signed| match (&signed.statement, &signed.name) {
        (Some(statement), _) if statement.predicate_type != SIGN => {
            format!("{image} has a statement of type {}, signed by {}\n", statement.predicate_type, signed.by)
        }
        (_, Some(name)) => format!("{image} is signed by {}, as {name}\n", signed.by),
        (_, None) => format!("{image} is signed by {}, in a bundle\n", signed.by),
    };
    holding.iter().map(line).collect()
}

fn as_json(image: &Reference, holding: &[Signed]) -> String {
    let signatures: Vec<_> = holding
        .iter()
        .map(|signed| {
            let statement = signed.statement.as_ref();
            json!({
                "by": signed.by,
                "name": signed.name,
                "digest": signed.image,
                "predicateType": statement.map(|statement| &statement.predicate_type),
                "predicate": statement.and_then(|statement| statement.predicate.as_deref()),
            })
        })
        .collect();
    format!("{:#}\n", json!({"image": image.to_string(), "signatures": signatures}))
}
