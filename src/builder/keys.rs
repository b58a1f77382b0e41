//! What a step's result depends on: the parts of its key.
//!
//! Pure. What comes from outside of the plan (files of the context, of stages, of images) is given as digests.
//!
//! *Invariant: every field of a planned step is either a part of its key, or named here with the reason why not: the
//! structs are taken apart without `..`, so that a new field does not compile until that is decided.*

use crate::cache::CacheKey;
use crate::cache::key::{Frames, Part, Parts};
use crate::image::Layer;
use crate::oci::{Digest, ImageConfig, Platform};
use crate::plan::{CacheMount, CopyFrom, CopySource, CopyStep, Mount, Mounted, RunStep, Unpack, WorkdirStep};
use crate::request::{BuildRequest, Compression, GitSource, RunNetwork, RunSettings, SnapshotMode};
use crate::rootfs::Fidelity;

/// What all keys of a build have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// How layers are written, whatever is in them.
    pub(super) layers: Digest,
    /// And how RUN's changes are found.
    pub(super) runs: Digest,
}

impl Settings {
    /// Takes what counts from a request.
    pub(super) fn new(request: &BuildRequest, fidelity: Fidelity) -> Self {
        let compression = match request.compression {
            Compression::Gzip { level } => format!("gzip {level}"),
            Compression::Zstd { level } => format!("zstd {level}"),
            Compression::Uncompressed => "none".to_owned(),
        };
        let paths = request.ignore_paths.iter().map(|path| path.as_os_str().as_encoded_bytes());
        let layers = Frames::new("layers").with(compression).option(request.epoch.map(i64::to_le_bytes)).list(paths);
        let mode = match request.snapshot_mode {
            SnapshotMode::Full => "full",
            SnapshotMode::Redo => "redo",
            SnapshotMode::Time => "time",
        };
        let fidelity = match fidelity {
            Fidelity::Strict => "strict",
            // Some owners and attributes are not what they should be.
            Fidelity::Lossy => "lossy",
        };
        let RunSettings { network: _, hosts: _, shared_memory, limits, secrets: _, agents: _, caches: _, asked: _ } =
            &request.run;
        let runs = layers.clone().with(mode).with(fidelity);
        let runs = runs.option(shared_memory.map(u64::to_le_bytes)).list(limits.iter().map(json));
        Self { layers: layers.digest(), runs: runs.digest() }
    }
}

/// What stands for the files of an image that a stage starts with: its layers.
pub(super) fn base_state(layers: &[Layer], platform: &Platform) -> CacheKey {
    let digests = layers.iter().map(|layer| layer.descriptor.digest.hex());
    Frames::new("state of a base").with(platform.to_string()).list(digests).key()
}

/// What stands for the files after a step, by those before it and what it did to them.
pub(super) fn state_after(before: &CacheKey, effect: &CacheKey) -> CacheKey {
    Frames::new("state after a step").with(before.hex()).with(effect.hex()).key()
}

/// What stands for what a step did that may do something else each time: the layer that it made this time.
pub(super) fn made(layer: Option<&Digest>) -> CacheKey {
    Frames::new("made").option(layer.map(Digest::hex)).key()
}

/// Starts the parts of a step; `before` are the files that it finds, with what they came from, where it depends on them.
pub(super) fn start(kind: &'static str, platform: &Platform, before: Option<(&str, &CacheKey)>) -> Parts {
    let parts = Parts::new(kind).open("the platform", platform.to_string());
    match before {
        None => parts.open("apart", ""),
        Some((origin, state)) => {
            let digest = Frames::new("value").with(state.hex()).digest();
            parts.part(Part { alias: Some(origin.to_owned()), ..Part::new("what was before", digest) })
        }
    }
}

/// Tells whether a COPY does not depend on the image at all; the names of --chown are looked up in it.
pub(super) fn is_apart(copy: &CopyStep) -> bool {
    copy.is_apart() && copy.chown.is_none()
}

/// What stands for the files of a stage.
pub(super) fn stage_files(name: &str, state: &CacheKey) -> Part {
    let digest = Frames::new("files of a stage").with(state.hex()).digest();
    Part { alias: Some(format!("stage {name}")), ..Part::new("a stage", digest) }
}

/// What stands for the files of an image: its layers.
pub(super) fn image_files(reference: &str, layers: &[Layer]) -> Part {
    let digests = layers.iter().map(|layer| layer.descriptor.digest.hex());
    let digest = Frames::new("files of an image").list(digests).digest();
    Part { alias: Some(format!("image {reference}")), ..Part::new("an image", digest) }
}

/// The parts of WORKDIR.
pub(super) fn workdir(parts: Parts, step: &WorkdirStep, settings: &Settings) -> Parts {
    let WorkdirStep { path, user } = step;
    parts.digest("a setting of layers", settings.layers.clone()).value("the directory", path).value("USER", user)
}

/// The parts of RUN; `mounts` has what each mount shows, in the order of the step's mounts.
pub(super) fn run(parts: Parts, step: &RunStep, mounts: &[Option<Part>], settings: &Settings) -> Parts {
    // The result does not depend on the proxies that it was made through.
    let RunStep { argv, environment, proxies: _, user, directory, network, mounts: planned, hosts, hostname } = step;
    let network = match network {
        RunNetwork::Host => "host",
        RunNetwork::None => "none",
    };
    let mut parts = parts
        .digest("a setting of layers", settings.runs.clone())
        .said("the command", Frames::new("argv").list(argv).digest())
        .value("USER", user)
        .value("WORKDIR", directory)
        .open("--network", network)
        .said("--add-host", Frames::new("hosts").list(hosts.iter().map(json)).digest());
    // Keys of RUNs without one are as they were before there was any.
    if let Some(hostname) = hostname {
        parts = parts.value("the host name", hostname);
    }
    for (name, value) in environment {
        parts = parts.value(format!("variable {name}"), value);
    }
    for (mount, shown) in planned.iter().zip(mounts) {
        let Mount { target, what } = mount;
        let name = format!("the mount at {}", target.as_deref().unwrap_or("-"));
        let digest = Frames::new("mount").option(target.as_ref()).with(mounted(what).hex());
        parts = parts.said(name, digest.digest());
        parts = shown.iter().cloned().fold(parts, Parts::part);
    }
    parts
}

fn mounted(what: &Mounted) -> Digest {
    match what {
        Mounted::Bind { from: _, source, read_only } => {
            Frames::new("bind").with(source).with(read_only.to_string()).digest()
        }
        // What RUNs have put there must not decide a result; what it begins with does, and is among what mounts show.
        Mounted::Cache(CacheMount { id, sharing: _, from: _, source, owner, read_only }) => {
            Frames::new("cache").with(id).with(source).with(format!("{owner:?}")).with(read_only.to_string()).digest()
        }
        Mounted::Tmpfs { size } => Frames::new("tmpfs").option(size.map(u64::to_le_bytes)).digest(),
        // A secret's value never counts, so that it can change (and so that no key tells anything of it).
        Mounted::Secret { id, required, variable, owner } => {
            let secret = Frames::new("secret").with(id).with(required.to_string());
            secret.option(variable.as_ref()).with(format!("{owner:?}")).digest()
        }
        Mounted::Ssh { id, required, owner } => {
            Frames::new("ssh").with(id).with(required.to_string()).with(format!("{owner:?}")).digest()
        }
        Mounted::Script(text) => Frames::new("script").with(text).digest(),
    }
}

/// The parts of COPY and ADD; `sources` is what is copied, by content or by where it is from.
pub(super) fn copy(parts: Parts, step: &CopyStep, sources: &[Option<Part>], settings: &Settings) -> Parts {
    let parts = parts.digest("a setting of layers", settings.layers.clone());
    sources.iter().flatten().cloned().fold(parts.said("the instruction", instruction(step)), Parts::part)
}

/// What a COPY or ADD says, without what is behind it.
fn instruction(step: &CopyStep) -> Digest {
    let CopyStep { from, sources, destination, chown, chmod, link, parents, excludes, unpack } = step;
    let from = match from {
        CopyFrom::Context => "context",
        CopyFrom::Named(_) => "named context",
        CopyFrom::Stage(_) | CopyFrom::Image(_) => "image",
    };
    let unpack = match unpack {
        Unpack::Nothing => "nothing",
        Unpack::Local => "local",
        Unpack::Everything => "everything",
    };
    let sources = sources.iter().map(|source| match source {
        CopySource::Path(path) => Frames::new("path").with(path).digest(),
        CopySource::Inline { name, content } => Frames::new("inline").with(name).with(content).digest(),
        CopySource::Url { name, source } => {
            let checksum = source.checksum.as_ref().map(Digest::hex);
            Frames::new("url").with(name).with(&source.url.0).option(checksum).digest()
        }
        CopySource::Git(git) => repository(git),
    });
    Frames::new("copy")
        .with(from)
        .list(sources.map(|digest| digest.hex().to_owned()))
        .with(destination)
        .option(chown.as_ref())
        .option(chmod.as_ref().map(|chmod| format!("{chmod:?}")))
        .with(link.to_string())
        .with(parents.to_string())
        .list(excludes)
        .with(unpack)
        .digest()
}

/// What the text of a Git repository says, without the commit, which is among what is copied.
fn repository(git: &GitSource) -> Digest {
    let GitSource {
        url,
        reference,
        commit: _,
        checksum: _,
        sub_directory,
        depth,
        submodules,
        skip_tls_verify,
        keep_git_directory,
    } = git;
    let flags = format!("{depth:?} {submodules} {skip_tls_verify} {keep_git_directory}");
    let directory = sub_directory.as_ref().map(|path| path.as_os_str().as_encoded_bytes());
    Frames::new("git repository").with(&url.0).option(reference.as_ref()).option(directory).with(flags).digest()
}

/// The key of an image: all that is in it but the times of what made no layer.
pub(super) fn image(config: &ImageConfig, layers: &[Layer]) -> CacheKey {
    let history = config.history.iter().map(|line| {
        let created = line.created.as_ref();
        let frames = Frames::new("line").option(created).option(line.created_by.as_ref());
        frames.with(line.empty_layer.to_string()).digest().hex().to_owned()
    });
    Frames::new("image")
        .list(layers.iter().map(|layer| layer.descriptor.digest.hex()))
        .list(history)
        .with(json(&config.config))
        .option(config.author.as_ref())
        .with(config.platform.to_string())
        .with(json(&config.extra))
        .key()
}

pub(super) fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings, numbers and lists always serialize")
}

#[cfg(test)]
mod tests;
