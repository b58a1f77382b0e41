//! The arguments that FROM lines see, and that a stage's `ARG NAME` falls back to.

use crate::dockerfile::Dockerfile;
use crate::oci::Platform;
use crate::request::BuildRequest;

use super::Error;
use super::budget::Budget;
use super::variables::Variables;

/// The proxy variables that every RUN sees when they are given as build args, without being declared.
///
/// Source: <https://docs.docker.com/reference/dockerfile/#predefined-args>.
const PROXY_ARGUMENTS: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Returns the global arguments: those of the platforms, then the ARGs before the first FROM, each expanded
/// with the ones before it; a `--build-arg` wins over both.
pub(super) fn global_arguments(
    dockerfile: &Dockerfile,
    request: &BuildRequest,
    budget: &Budget,
) -> Result<Variables, Error> {
    let mut globals = Variables::default();
    let target = request.target.clone().or_else(|| dockerfile.stages.last().and_then(|stage| stage.name.clone()));
    for (name, value) in platform_arguments(request, &target.unwrap_or_else(|| "default".to_owned())) {
        globals.set(name, request.build_args.get(name).unwrap_or(&value));
    }
    for instruction in &dockerfile.arguments {
        for argument in &instruction.value.arguments {
            let value = match (request.build_args.get(&argument.name), &argument.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(word)) => Some(globals.word(dockerfile.directives.escape, word, instruction.span)?),
                (None, None) => None,
            };
            if let Some(value) = value {
                budget.spend(value.len(), instruction.span)?;
                globals.set(&argument.name, &value);
            }
        }
    }
    Ok(globals)
}

/// Returns the proxy variables among the build args, in both spellings as BuildKit sets them.
pub(super) fn proxy_environment(request: &BuildRequest) -> Vec<(String, String)> {
    let mut environment = Vec::new();
    for name in PROXY_ARGUMENTS {
        let lower = name.to_lowercase();
        if let Some(value) = request.build_args.get(name).or_else(|| request.build_args.get(&lower)) {
            environment.push((name.to_owned(), value.clone()));
            environment.push((lower, value.clone()));
        }
    }
    environment
}

/// Tells whether a build arg is one of the proxy variables.
pub(super) fn is_proxy(name: &str) -> bool {
    PROXY_ARGUMENTS.iter().any(|known| name == *known || name == known.to_lowercase())
}

/// The names of the arguments that are there without being declared before FROM.
pub(super) const PLATFORM_ARGUMENTS: [&str; 11] = [
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDOSVERSION",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETOSVERSION",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
];

fn platform_arguments(request: &BuildRequest, target_stage: &str) -> impl Iterator<Item = (&'static str, String)> {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let (build, target): (&Platform, &Platform) = (&request.build_platform, &request.platform);
    let values = [
        build.to_string(),
        build.os.clone(),
        text(&build.os_version),
        build.architecture.clone(),
        text(&build.variant),
        target.to_string(),
        target.os.clone(),
        text(&target.os_version),
        target.architecture.clone(),
        text(&target.variant),
        target_stage.to_owned(),
    ];
    PLATFORM_ARGUMENTS.into_iter().zip(values)
}
