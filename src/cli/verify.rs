//! `yadokari verify`: whether an image is signed by whom it must be.

use std::sync::Arc;

use serde_json::json;

use super::args::VerifyArgs;
use super::commands::{print, wait};
use super::env::Environment;
use super::exit::{Failure, Kind};
use super::report::Report;
use super::{request, services, signing};
use crate::oci::Reference;
use crate::signing::{Signed, Trust};
use crate::trust;

/// Verifies, and tells on standard output whose signatures hold.
pub(super) fn run(args: &VerifyArgs, environment: &Environment, report: &Arc<Report>) -> Result<(), Failure> {
    let reference: Reference = args.image.parse().map_err(|error| Failure::from_error(Kind::Usage, &error))?;
    let trust = trusted(args, environment)?;
    let network = request::registry_network(&args.registry, environment)?;
    let (_, client) = services::client(&network, report.clone())?;
    let (image, holding) = wait(async {
        let found = client.manifest(&reference).await.map_err(trust::Error::from)?;
        let Some((_, digest)) = found else {
            return Err(trust::Error::NoImage { reference: reference.to_string() }.into());
        };
        let image = reference.with_digest(digest.clone());
        let signatures = trust::signatures(&client, &reference, &digest).await?;
        let (holding, refused) = trust::judge(&signatures, &digest, &trust);
        if holding.is_empty() {
            return Err(trust::Error::unsigned(&image, &refused).into());
        }
        Ok((image, holding))
    })?;
    print(&if args.json { as_json(&image, &holding) } else { as_text(&image, &holding) })
}

fn trusted(args: &VerifyArgs, environment: &Environment) -> Result<Trust, Failure> {
    let keys = args.key.iter().filter(|path| !path.as_os_str().is_empty());
    let keys = keys.map(|path| signing::public_key("--key", &environment.directories.working.join(path)));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err(Failure::new(Kind::Usage, "say who must have signed: a public key with --key"));
    }
    Ok(Trust::Keys(keys))
}

fn as_text(image: &Reference, holding: &[Signed]) -> String {
    let line = |signed: &Signed| format!("{image} is signed by {}, as {}\n", signed.by, signed.payload.name);
    holding.iter().map(line).collect()
}

fn as_json(image: &Reference, holding: &[Signed]) -> String {
    let signatures: Vec<_> = holding
        .iter()
        .map(|signed| json!({"by": signed.by, "name": signed.payload.name, "digest": signed.payload.image}))
        .collect();
    format!("{:#}\n", json!({"image": image.to_string(), "signatures": signatures}))
}
