//! Which registries stand in for others, and which certificates we show.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{UsageError, Warning, absolute, pairs};
use crate::cli::args::MirrorArgs;
use crate::cli::env::Environment;
use crate::oci::DEFAULT_REGISTRY;
use crate::registry::{Mirror, Mirrors, RegistriesConf};

const MAP: &str = "--registry-map";
const MIRROR: &str = "--registry-mirror";
const IDENTITY: &str = "--registry-client-cert";
const CONF: &str = "--registries-conf";
const CONF_VARIABLE: &str = "CONTAINERS_REGISTRIES_CONF";

/// Reads the maps: flags first, then the variables that add to them, then the file; and what the file says in vain.
pub(super) fn mirrors(args: &MirrorArgs, environment: &Environment) -> Result<(Mirrors, Option<Warning>), UsageError> {
    let variable = |name: &str| Ok::<_, UsageError>(environment.variable(name)?.map(str::to_owned));
    let mut of: BTreeMap<String, Vec<Mirror>> = BTreeMap::new();
    for text in args.registry_map.iter().cloned().chain(variable("KANIKO_REGISTRY_MAP")?) {
        // An empty value is what a pipeline passes whose parameter is not set.
        for item in text.split(';').map(str::trim).filter(|item| !item.is_empty()) {
            let (registry, place) = pairs::pair(MAP, item)?;
            of.entry(pairs::registry(MAP, registry.trim())?).or_default().push(mirror(MAP, place)?);
        }
    }
    for text in args.registry_mirror.iter().cloned().chain(variable("KANIKO_REGISTRY_MIRROR")?) {
        if !text.trim().is_empty() {
            of.entry(DEFAULT_REGISTRY.to_owned()).or_default().push(mirror(MIRROR, &text)?);
        }
    }
    let RegistriesConf { rules, notes } = conf(args, environment)?;
    let warning = Warning { rule: "RegistriesConf", message: notes.join("; ") };
    let mirrors = Mirrors { of, rules, only: args.skip_default_registry_fallback };
    Ok((mirrors, (!notes.is_empty()).then_some(warning)))
}

/// Reads the file of mirrors that a flag or else a variable names; no other place is looked at.
fn conf(args: &MirrorArgs, environment: &Environment) -> Result<RegistriesConf, UsageError> {
    let named = args.registries_conf.clone().filter(|path| !path.as_os_str().is_empty());
    let variable = environment.value(CONF_VARIABLE)?.map(PathBuf::from);
    let (flag, path) = match (named, variable) {
        (Some(path), _) => (CONF, path),
        (None, Some(path)) => (CONF_VARIABLE, path),
        (None, None) => return Ok(RegistriesConf::default()),
    };
    let refused = |reason: String| UsageError::Value { flag, value: path.display().to_string(), reason };
    let text = std::fs::read_to_string(absolute(&path, &environment.directories.working));
    let text = text.map_err(|error| refused(error.to_string()))?;
    RegistriesConf::parse(&text).map_err(|error| refused(error.to_string()))
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
        Ok((pairs::registry(IDENTITY, registry)?, (path(certificate), path(key))))
    };
    given.iter().map(read).collect()
}
