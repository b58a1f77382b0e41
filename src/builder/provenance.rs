//! How an image came to be, from what the build has really used.
//!
//! *Invariant: no secret's value, no password of a URL and no value of a build argument whose name says that it is a
//! secret is told. With an epoch, nothing is told that another run on the same machine would tell otherwise.*

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::attest::provenance::{
    Asked, BUILD_TYPE, BuildDefinition, Builder, BuildkitMetadata, Completeness, ConfigSource, DockerfileUsed,
    ExternalParameters, FRONTEND, InternalParameters, Local, Metadata, Provenance, Request, RunDetails, Source,
    SourceText, StepTold, commit, sha256,
};
use crate::context::Context;
use crate::http::{MASKED, redact_within};
use crate::oci::Digest;
use crate::outcome::StepDone;
use crate::plan::{BuildPlan, CopyFrom, Mounted, looks_secret};
use crate::progress::StepResult;
use crate::request::{BuildRequest, ContextSource, NamedContext, Provenance as Extent, RunNetwork, SecretSource};

use super::Services;
use super::attempt::Setting;
use super::dependencies::{self, Dependencies};
use super::stage::rfc3339;

/// Tells how an image came to be.
pub(super) fn provenance(setting: &Setting<'_>, steps: &[StepDone], services: &Services) -> Provenance {
    let Setting { request, plan, context, .. } = *setting;
    let is_max = request.attestations.provenance == Extent::Max;
    let dependencies = dependencies::of(setting, services);
    let told = request_told(request, plan, is_max);
    let text = &context.dockerfile.text;
    let name = context.dockerfile.name.display().to_string();
    let build_definition = BuildDefinition {
        build_type: BUILD_TYPE,
        external_parameters: ExternalParameters {
            config_source: config_source(context, &name),
            request: told,
            dockerfile: DockerfileUsed { name: name.clone(), digest: Digest::of(text) },
        },
        internal_parameters: InternalParameters {
            builder_platform: request.build_platform.to_string(),
            steps: if is_max { steps.iter().map(step).collect() } else { Vec::new() },
        },
        resolved_dependencies: dependencies.list.clone(),
    };
    let version = [("yadokari", format!("{} ({})", env!("CARGO_PKG_VERSION"), env!("YADOKARI_COMMIT")))];
    let builder = Builder { id: request.attestations.builder_id.clone(), version: version.into() };
    let metadata = metadata(setting, &dependencies, services.started.elapsed(), &name);
    Provenance { build_definition, run_details: RunDetails { builder, metadata } }
}

fn config_source(context: &Context, name: &str) -> ConfigSource {
    let path = Some(name.to_owned());
    match context.origin.as_ref().and_then(|origin| origin.source.as_ref()) {
        Some(source) => ConfigSource { uri: Some(source.url.clone()), digest: commit(&source.commit), path },
        None => ConfigSource { uri: None, digest: sha256(&Digest::of(&context.dockerfile.text)), path },
    }
}

fn request_told(request: &BuildRequest, plan: &BuildPlan, is_max: bool) -> Request {
    let mut args: BTreeMap<String, String> = BTreeMap::new();
    args.extend(request.target.iter().map(|target| ("target".to_owned(), target.clone())));
    args.insert("platform".to_owned(), request.platform.to_string());
    for (name, context) in &request.named_contexts {
        args.insert(format!("context:{name}"), named(name, context));
    }
    if is_max {
        let build_args = request.build_args.iter().map(|(name, value)| (name, shown(name, value, request)));
        args.extend(build_args.map(|(name, value)| (format!("build-arg:{name}"), value)));
        let labels = request.labels.iter().map(|(name, value)| (format!("label:{name}"), redact_within(value)));
        args.extend(labels);
    }
    let (mut secrets, mut ssh) = (BTreeSet::new(), BTreeSet::new());
    let mounts = plan.runs().flat_map(|run| &run.mounts).filter(|_| is_max);
    for mount in mounts {
        match &mount.what {
            Mounted::Secret { id, required, .. } => _ = secrets.insert(Asked { id: id.clone(), optional: !required }),
            Mounted::Ssh { id, required, .. } => _ = ssh.insert(Asked { id: id.clone(), optional: !required }),
            Mounted::Bind { .. } | Mounted::Cache(_) | Mounted::Tmpfs { .. } | Mounted::Script(_) => {}
        }
    }
    let locals = locals(request, plan).into_iter().map(|name| Local { name }).collect();
    let (secrets, ssh) = (secrets.into_iter().collect(), ssh.into_iter().collect());
    Request { frontend: FRONTEND, args, secrets, ssh, locals }
}

/// Writes a build argument's value, unless it is a secret: by its name, as lint rules guess, or because it is one.
pub(super) fn shown(name: &str, value: &str, request: &BuildRequest) -> String {
    let is_secret = |source: &SecretSource| matches!(source, SecretSource::Value(secret) if secret == value);
    if looks_secret(name) || request.run.secrets.values().any(is_secret) {
        return MASKED.to_owned();
    }
    redact_within(value)
}

/// Says what a named context is; where it is on this machine says nothing to others.
fn named(name: &str, context: &NamedContext) -> String {
    match context {
        NamedContext::Files(ContextSource::Directory(_)) => format!("local:{name}"),
        NamedContext::Files(ContextSource::Tar(_) | ContextSource::Stdin) => format!("archive:{name}"),
        NamedContext::Files(source) => dependencies::url(source).unwrap_or_else(|| format!("input:{name}")),
        NamedContext::Scratch => "docker-image://scratch".to_owned(),
        NamedContext::Image(reference) => format!("docker-image://{reference}"),
        NamedContext::Layout { digest, .. } => {
            let digest = digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
            format!("oci-layout://{name}{digest}")
        }
    }
}

/// Names the directories of this machine that steps read.
fn locals(request: &BuildRequest, plan: &BuildPlan) -> Vec<String> {
    let is_local = |source: &ContextSource| matches!(source, ContextSource::Directory(_));
    let mut names = Vec::new();
    if is_local(&request.context) {
        names.extend(dependencies::reads_context(plan).then(|| "context".to_owned()));
        names.push("dockerfile".to_owned());
    }
    let read = |name: &String| dependencies::sources(plan).any(|from| *from == CopyFrom::Named(name.clone()));
    names.extend(request.named_contexts.iter().filter_map(|(name, context)| match context {
        NamedContext::Files(source) if is_local(source) && read(name) => Some(name.clone()),
        NamedContext::Files(_) | NamedContext::Scratch | NamedContext::Image(_) | NamedContext::Layout { .. } => None,
    }));
    names
}

fn step(done: &StepDone) -> StepTold {
    let layer = match &done.result {
        StepResult::Layer { digest, .. } | StepResult::Cached { digest, .. } => Some(digest.clone()),
        StepResult::Alike { layer, .. } => layer.as_ref().map(|(digest, _)| digest.clone()),
        StepResult::CachedNoLayer | StepResult::NoLayer | StepResult::Configured => None,
    };
    let (stage, instruction) = (done.step.stage.clone(), redact_within(&done.text));
    StepTold { stage, line: done.line, instruction, layer }
}

fn metadata(setting: &Setting<'_>, dependencies: &Dependencies, elapsed: Duration, name: &str) -> Metadata {
    let Setting { request, plan, context, .. } = *setting;
    let is_max = request.attestations.provenance == Extent::Max;
    let is_reproducible = request.epoch.is_some();
    let finished = request.created.saturating_add(i64::try_from(elapsed.as_secs()).unwrap_or(0));
    let real = |seconds: i64| (!is_reproducible).then(|| rfc3339(seconds));
    let source = is_max.then(|| {
        let data = redact_within(&String::from_utf8_lossy(&context.dockerfile.text)).into_bytes();
        Source { infos: vec![SourceText { filename: name.to_owned(), language: "Dockerfile", data }] }
    });
    let mut vcs = BTreeMap::new();
    if let Some(clone) = &context.clone {
        vcs.extend([("source", clone.url.clone()), ("revision", clone.commit.clone())]);
        vcs.retain(|_, text| !text.is_empty());
    }
    let is_offline = plan.runs().all(|run| run.network == RunNetwork::None);
    let is_told = is_max || (request.build_args.is_empty() && request.labels.is_empty());
    Metadata {
        invocation_id: request.attestations.invocation_id.clone().filter(|_| !is_reproducible),
        started_on: real(request.created),
        finished_on: real(finished),
        buildkit_metadata: BuildkitMetadata { vcs, source },
        buildkit_hermetic: dependencies.is_complete && is_offline,
        buildkit_completeness: Completeness { request: is_told, resolved_dependencies: dependencies.is_complete },
        buildkit_reproducible: is_reproducible,
    }
}
