//! The reference builder: Debian's buildah, whose results are kept between runs.
//!
//! It stands for BuildKit, which cannot run here. Where the two differ, the case says so and holds a golden.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::case::Case;
use super::image::Image;
use super::listing::Listing;
use super::process::{self, LONG, SHORT};
use super::scratch::{self, Scratch};

/// Changed whenever the text form of what is kept changes.
const FORM: &str = "3";

/// What buildah made of a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Verdict {
    /// An image, flattened.
    Built { listing: Listing, changes: String, config: Value, layers: usize },
    /// Its exit code and the end of what it said.
    Failed { code: i32, text: String },
}

/// Returns what buildah makes of the case, from the last time when nothing changed since.
pub(crate) fn verdict(case: &Case) -> Verdict {
    // Several isolations ask for one case at a time: the first builds it, the others wait for what it keeps.
    let turn = turn(&case.name);
    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = directory().join(format!("{}-{}.json", case.name, key(case)));
    if let Some(verdict) = fs::read(&kept).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
        return verdict;
    }
    let verdict = build(case);
    // Renamed into place: another run may ask for the same case.
    let new = Scratch::new("verdict");
    let text = serde_json::to_vec_pretty(&verdict).expect("plain data");
    let partial = kept.with_extension(new.path().extension().expect("scratch names have a number"));
    fs::write(&partial, text).expect("target/tmp is writable");
    fs::rename(&partial, &kept).expect("target/tmp is writable");
    verdict
}

/// Returns the lock of a case.
fn turn(name: &str) -> Arc<Mutex<()>> {
    static TURNS: OnceLock<Mutex<BTreeMap<String, Arc<Mutex<()>>>>> = OnceLock::new();
    let mut turns = TURNS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(turns.entry(name.to_owned()).or_default())
}

/// Returns buildah with storage of its own on tmpfs.
pub(crate) fn buildah() -> Command {
    let storage = scratch::root().join("buildah");
    // After a build that fails buildah leaves its mounts; in a mount namespace of its own they end with it.
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "buildah"])
        .arg("--root")
        .arg(storage.join("root"))
        .arg("--runroot")
        .arg(storage.join("run"));
    command.args(["--storage-driver", "overlay"]);
    command
}

fn build(case: &Case) -> Verdict {
    let mut command = buildah();
    // It keeps its cache mounts below, and an earlier build's are no part of this one.
    let temporary = Scratch::new("oracle-temporary");
    command.env("TMPDIR", temporary.path());
    command.args(["bud", "--quiet", "--isolation=oci", "--runtime=runc", "--format=docker", "--layers"]);
    // As BuildKit: a RUN sees no proxy variable of this machine unless it is a build argument.
    command.args([
        "--no-cache",
        "--identity-label=false",
        "--tls-verify=false",
        "--network=host",
        "--http-proxy=false",
    ]);
    for argument in case.build_args() {
        command.arg("--build-arg").arg(argument);
    }
    for (name, value) in &case.settings.labels {
        command.arg("--label").arg(format!("{name}={value}"));
    }
    if let Some(target) = &case.settings.target {
        command.arg("--target").arg(target);
    }
    let ignore = case.path().join("Dockerfile.dockerignore");
    if ignore.exists() {
        command.arg("--ignorefile").arg(ignore);
    }
    command.arg("--tag").arg(format!("localhost/{}", case.name));
    command.arg("--file").arg(case.for_oracle("Dockerfile")).arg(case.for_oracle("context"));
    let finished = process::run(&mut command, LONG);
    if finished.code != 0 {
        return Verdict::Failed { code: finished.code, text: finished.stdout + &finished.stderr };
    }
    let output = Scratch::new("oracle");
    let mut push = buildah();
    push.args(["push", "--quiet", "--disable-compression", "--format=v2s2"]).arg(format!("localhost/{}", case.name));
    process::run(push.arg(format!("dir:{}", output.path().display())), SHORT).success();
    let image = Image::from_directory(output.path());
    let listing = Listing::of(&image);
    let changes = changes(case, &image, &listing);
    let config = image.runtime_config();
    Verdict::Built { changes, config, layers: image.layers.len(), listing }
}

/// Returns the changes of an image to that base of the case that it stands on.
pub(crate) fn changes(case: &Case, image: &Image, listing: &Listing) -> String {
    let diff_ids = image.diff_ids();
    let below = case.bases.values().flat_map(|base| &base.diff_ids);
    let shared = below.filter(|ids| diff_ids.starts_with(ids)).map(Vec::len).max().unwrap_or(0);
    listing.changes_from(&Listing::of_lower(image, shared))
}

fn directory() -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oracle");
    fs::create_dir_all(&path).expect("target/tmp is writable");
    path
}

/// Hashes all that the verdict depends on.
fn key(case: &Case) -> String {
    let mut hasher = Sha256::new();
    let mut add = |part: &[u8]| {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part);
    };
    add(FORM.as_bytes());
    add(version().as_bytes());
    for (name, base) in &case.bases {
        add(name.as_bytes());
        add(base.digest.as_bytes());
    }
    let mut pending = vec![case.source.clone()];
    while let Some(path) = pending.pop() {
        if path.is_dir() && !path.is_symlink() {
            let mut entries: Vec<_> = fs::read_dir(&path).expect("the corpus is readable").flatten().collect();
            entries.sort_by_key(fs::DirEntry::file_name);
            pending.extend(entries.into_iter().map(|entry| entry.path()));
        } else if !path.ends_with("listing.txt") && !path.ends_with("config.json") {
            add(path.strip_prefix(&case.source).expect("below the case").as_os_str().as_encoded_bytes());
            let link = fs::read_link(&path).map(|target| target.into_os_string().into_encoded_bytes());
            add(&link.or_else(|_| fs::read(&path)).expect("the corpus is readable"));
        }
    }
    hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| process::run(Command::new("buildah").arg("--version"), SHORT).success())
}
