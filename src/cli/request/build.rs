//! Flags for how the image is built.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{UsageError, absolute, export};
use crate::cli::args::{Args, CompressionName, IsolationName, SnapshotModeName};
use crate::cli::env::Environment;
use crate::cli::state::PREFIX;
use crate::oci::Platform;
use crate::request::{
    ArchiveForm, Compression, EPOCH_ARGUMENT, IsolationChoice, Output, SnapshotMode, Snapshots, Target, epoch_in,
};

/// The times of an image, and the build arguments with the epoch among them.
pub(super) struct Times {
    pub(super) created: i64,
    pub(super) epoch: Option<i64>,
    pub(super) epoch_of: Option<String>,
    pub(super) build_args: BTreeMap<String, String>,
}

/// Decides on times: the build argument SOURCE_DATE_EPOCH, else the variable, else 0 for `--reproducible`,
/// else now. An empty build argument switches the variable off, as it does for buildx.
pub(super) fn times(
    args: &Args,
    environment: &Environment,
    mut build_args: BTreeMap<String, String>,
) -> Result<Times, UsageError> {
    let given = match build_args.get(EPOCH_ARGUMENT) {
        Some(value) => Some(value.clone()),
        None => environment.variable(EPOCH_ARGUMENT)?.map(str::to_owned),
    };
    let otherwise = args.image.reproducible.then_some(0);
    let (epoch, epoch_of) = match given.filter(|value| !value.is_empty()) {
        // Whether there is something of that name is not known yet.
        Some(name) if is_name(&name) => (otherwise, Some(name)),
        Some(value) => {
            let epoch = epoch(&value)?;
            build_args.insert(EPOCH_ARGUMENT.to_owned(), value);
            (Some(epoch), None)
        }
        None => (otherwise, None),
    };
    Ok(Times { created: epoch.unwrap_or(environment.moment.now), epoch, epoch_of, build_args })
}

/// Tells whether a value may be `context`, or the name of a context or of a stage.
fn is_name(value: &str) -> bool {
    value.starts_with(|first: char| first.is_ascii_alphabetic())
}

fn epoch(value: &str) -> Result<i64, UsageError> {
    epoch_in(value).ok_or_else(|| UsageError::Variable {
        name: EPOCH_ARGUMENT,
        value: value.to_owned(),
        reason:
            "write seconds since 1970-01-01, for example 1700000000; `context`; or the name of a context or of a stage"
                .to_owned(),
    })
}

/// Reads `--custom-platform`: one platform, or several with commas between them, each of which counts once.
pub(super) fn platforms(given: Option<&str>) -> Result<Vec<Platform>, UsageError> {
    let mut platforms: Vec<Platform> = Vec::new();
    for text in given.into_iter().flat_map(|list| list.split(',')).map(str::trim).filter(|text| !text.is_empty()) {
        let platform: Platform = text.parse().map_err(|_| UsageError::Value {
            flag: "--custom-platform",
            value: text.to_owned(),
            reason: "write os/architecture or os/architecture/variant, for example linux/arm64".to_owned(),
        })?;
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    if platforms.is_empty() {
        platforms.push(Platform::host());
    }
    Ok(platforms)
}

/// Reads `--custom-platform` where it can be one only.
pub(super) fn platform(given: Option<&str>) -> Result<Platform, UsageError> {
    match platforms(given)?.as_slice() {
        [only] => Ok(only.clone()),
        _ => Err(UsageError::Value {
            flag: "--custom-platform",
            value: given.unwrap_or_default().to_owned(),
            reason: "it can be one platform here; repeat the command for others".to_owned(),
        }),
    }
}

/// Refuses outputs that hold the image of one platform where there are several.
pub(super) fn check_outputs(platforms: &[Platform], outputs: &[Output]) -> Result<(), UsageError> {
    let holds_one = |output: &Output| match output {
        Output::Registry(_) | Output::Layout { .. } => false,
        Output::Archive { .. } | Output::Tar(_) | Output::Directory { .. } => true,
    };
    if platforms.len() > 1 && outputs.iter().any(holds_one) {
        let (first, second) = ("several platforms", "an archive or a directory of files");
        let reason = "it holds the image of one platform; push the image, or write an OCI layout".to_owned();
        return Err(UsageError::Conflict { first, second, reason });
    }
    Ok(())
}

/// Reads `--target`, a list as kaniko's fork takes it: the first stage is the image, all of them are built.
pub(super) fn targets(given: &[String]) -> (Option<String>, Vec<String>) {
    let mut stages = given.iter().flat_map(|list| list.split(',')).map(str::trim).filter(|stage| !stage.is_empty());
    let first = stages.next().map(str::to_owned);
    let others = stages.filter(|stage| first.as_deref() != Some(*stage)).map(str::to_owned).collect();
    (first, others)
}

pub(super) fn compression(name: CompressionName, level: i32) -> Result<Compression, UsageError> {
    let error = |reason: &str| UsageError::Value {
        flag: "--compression-level",
        value: level.to_string(),
        reason: reason.to_owned(),
    };
    match (name, level) {
        (CompressionName::Gzip, -1 | 0) => Ok(Compression::GZIP),
        (CompressionName::Gzip, 1..=9) => Ok(Compression::Gzip { level: level.unsigned_abs() }),
        (CompressionName::Gzip, _) => Err(error("gzip has levels from 1 to 9, and -1 for the default")),
        (CompressionName::Zstd, -1 | 0) => Ok(Compression::ZSTD),
        (CompressionName::Zstd, 1..=22) => Ok(Compression::Zstd { level }),
        (CompressionName::Zstd, _) => Err(error("zstd has levels from 1 to 22, and -1 for the default")),
        (CompressionName::None, -1 | 0) => Ok(Compression::Uncompressed),
        (CompressionName::None, _) => Err(error("there is nothing to level with --compression=none")),
    }
}

pub(super) fn snapshots(single: bool) -> Snapshots {
    if single { Snapshots::Single } else { Snapshots::EachStep }
}

pub(super) fn snapshot_mode(name: SnapshotModeName) -> SnapshotMode {
    match name {
        SnapshotModeName::Full => SnapshotMode::Full,
        SnapshotModeName::Redo => SnapshotMode::Redo,
        SnapshotModeName::Time => SnapshotMode::Time,
    }
}

pub(in crate::cli) fn isolation(name: IsolationName) -> IsolationChoice {
    match name {
        IsolationName::Auto => IsolationChoice::Auto,
        IsolationName::Namespace => IsolationChoice::Namespace,
        IsolationName::Chroot => IsolationChoice::Chroot,
        IsolationName::Container => IsolationChoice::Container,
        IsolationName::Mediated => IsolationChoice::Mediated,
    }
}

/// What the image of a RUN that failed is called where it is loaded.
const FAILED: &str = "localhost/failed-step:latest";

/// Reads `--on-failure`.
pub(super) fn on_failure(args: &Args, environment: &Environment) -> Result<Option<Output>, UsageError> {
    const FLAG: &str = "--on-failure";
    let Some(text) = args.build.on_failure.as_deref().filter(|text| !matches!(*text, "" | "none")) else {
        return Ok(None);
    };
    let refused = |reason: &str| UsageError::Value { flag: FLAG, value: text.to_owned(), reason: reason.to_owned() };
    let name = FAILED.parse().map_err(|_| refused("no name can be given to it"))?;
    if text == "keep" {
        let state = state_directory(args.build.state_dir.as_deref(), environment);
        let token = state.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = state.with_file_name(format!("{token}-failed.tar"));
        return Ok(Some(Output::Archive { form: ArchiveForm::Docker, target: Target::File(path), names: vec![name] }));
    }
    let exported = export::export(text, &[name], &environment.directories.working);
    let exported = exported.map_err(|error| match error {
        UsageError::Value { reason, .. } => refused(&reason),
        other => other,
    })?;
    match exported.outputs.as_slice() {
        [output @ (Output::Registry(_) | Output::Archive { target: Target::File(_), .. } | Output::Layout { .. })] => {
            Ok(Some(output.clone()))
        }
        _ => Err(refused("it can be keep, type=docker or oci with a file, or type=registry with one name")),
    }
}

/// Names the run's own directory below the one that flag or environment give.
pub(in crate::cli) fn state_directory(given: Option<&Path>, environment: &Environment) -> PathBuf {
    let directories = &environment.directories;
    let base = given.filter(|path| !path.as_os_str().is_empty()).unwrap_or(&directories.state);
    absolute(base, &directories.working).join(format!("{PREFIX}{}", environment.moment.token))
}
