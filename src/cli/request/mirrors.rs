//! Which registries stand in for others, and which certificates we show.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{UsageError, absolute, network, pairs};
use crate::cli::args::MirrorArgs;
use crate::cli::env::Environment;
use crate::oci::DEFAULT_REGISTRY;
use crate::registry::{Mirror, Mirrors};

const MAP: &str = "--registry-map";
const MIRROR: &str = "--registry-mirror";
const IDENTITY: &str = "--registry-client-cert";

/// Reads the maps: flags first, then the variables that add to them.
pub(super) fn mirrors(args: &MirrorArgs, environment: &Environment) -> Result<Mirrors, UsageError> {
    let variable = |name: &str| Ok::<_, UsageError>(environment.variable(name)?.map(str::to_owned));
    let mut of: BTreeMap<String, Vec<Mirror>> = BTreeMap::new();
    for text in args.registry_map.iter().cloned().chain(variable("KANIKO_REGISTRY_MAP")?) {
        // An empty value is what a pipeline passes whose parameter is not set.
        for item in text.split(';').map(str::trim).filter(|item| !item.is_empty()) {
            let (registry, place) = pairs::pair(MAP, item)?;
            of.entry(network::registry(MAP, registry.trim())?).or_default().push(mirror(MAP, place)?);
        }
    }
    for text in args.registry_mirror.iter().cloned().chain(variable("KANIKO_REGISTRY_MIRROR")?) {
        if !text.trim().is_empty() {
            of.entry(DEFAULT_REGISTRY.to_owned()).or_default().push(mirror(MIRROR, &text)?);
        }
    }
    Ok(Mirrors { of, only: args.skip_default_registry_fallback })
}

fn mirror(flag: &'static str, text: &str) -> Result<Mirror, UsageError> {
    if text.trim().starts_with("http://") {
        let reason = "write it without http:// and name its host in --insecure-registry".to_owned();
        return Err(UsageError::Value { flag, value: crate::http::redact_text(text), reason });
    }
    text.parse().map_err(|error: crate::registry::MirrorError| UsageError::Value {
        flag,
        value: text.to_owned(),
        reason: error.to_string(),
    })
}

/// A registry's name, and the files of our certificate for it and of its key.
type Identity = (String, (PathBuf, PathBuf));

/// Reads `--registry-client-cert`: `REGISTRY=CERT,KEY`; the same registry again overwrites.
pub(super) fn identities(given: &[String], working: &Path) -> Result<Vec<Identity>, UsageError> {
    let read = |text: &String| {
        let (registry, files) = pairs::pair(IDENTITY, text)?;
        let files = files.split_once(',').filter(|(certificate, key)| !certificate.is_empty() && !key.is_empty());
        let (certificate, key) = files.ok_or_else(|| UsageError::Value {
            flag: IDENTITY,
            value: text.clone(),
            reason: "write REGISTRY=CERT,KEY, both of them files".to_owned(),
        })?;
        let path = |text: &str| absolute(Path::new(text), working);
        Ok((network::registry(IDENTITY, registry)?, (path(certificate), path(key))))
    };
    given.iter().map(read).collect()
}
