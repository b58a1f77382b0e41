//! Flags whose values are `NAME=VALUE`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{UsageError, Warning, absolute};
use crate::cli::env::Environment;
use crate::registry::settings_key;

/// Reads `--build-arg`: `NAME=VALUE`, or `NAME` for the variable's value; the same name again overwrites.
///
/// A variable that is not set leaves the ARG's default; kaniko makes it empty instead, which nobody can mean.
pub(super) fn build_args(
    given: &[String],
    environment: &Environment,
    warnings: &mut Vec<Warning>,
) -> Result<BTreeMap<String, String>, UsageError> {
    let mut values = BTreeMap::new();
    // A pipeline whose parameter is not set passes an empty value.
    for text in given.iter().filter(|text| !text.is_empty()) {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text.as_str(), environment.variable(text)?),
        };
        if name.trim().is_empty() {
            return Err(UsageError::Secret { flag: "--build-arg", reason: "needs a name before its value" });
        }
        match value {
            Some(value) => _ = values.insert(name.to_owned(), value.to_owned()),
            None => warnings.push(Warning {
                rule: "BuildArgNotSet",
                message: format!(
                    "--build-arg {name} has no value and there is no environment variable of that name: the ARG's default is used"
                ),
            }),
        }
    }
    Ok(values)
}

/// Reads `--label`; the same name again overwrites.
pub(super) fn labels(given: &[String]) -> Result<BTreeMap<String, String>, UsageError> {
    given.iter().map(|text| pair("--label", text).map(|(name, value)| (name.to_owned(), value.to_owned()))).collect()
}

/// Reads `--registry-certificate`: `REGISTRY=FILE`; the same registry again adds a file.
pub(super) fn certificates(given: &[String], working: &Path) -> Result<BTreeMap<String, Vec<PathBuf>>, UsageError> {
    let flag = "--registry-certificate";
    let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for text in given {
        let (registry, file) = pair(flag, text)?;
        if file.is_empty() {
            let (value, reason) = (text.clone(), "it needs a file behind the `=`".to_owned());
            return Err(UsageError::Value { flag, value, reason });
        }
        files.entry(self::registry(flag, registry)?).or_default().push(absolute(Path::new(file), working));
    }
    Ok(files)
}

/// Splits `NAME=VALUE` at the first `=`.
pub(super) fn pair<'a>(flag: &'static str, text: &'a str) -> Result<(&'a str, &'a str), UsageError> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name, value)),
        _ => {
            let reason = "write NAME=VALUE".to_owned();
            Err(UsageError::Value { flag, value: text.to_owned(), reason })
        }
    }
}

/// Reads the name of a registry as references have it.
pub(super) fn registry(flag: &'static str, given: &str) -> Result<String, UsageError> {
    let error = |reason: &str| UsageError::Value { flag, value: given.to_owned(), reason: reason.to_owned() };
    match settings_key(given) {
        name if name.is_empty() => Err(error("name a registry: host or host:port")),
        name if name.contains('@') => Err(error("it has no user: host or host:port")),
        name if name.contains('/') => Err(error("it holds for a whole registry: host or host:port")),
        name => Ok(name),
    }
}
