//! What a build has read: images, contexts, what ADD brought, and what cache mounts held.

use crate::attest::provenance::{Dependency, DigestSet, commit, sha256};
use crate::context::Context;
use crate::http::{Url, redact, redact_text};
use crate::oci::{Platform, purl};
use crate::outcome::{ContextOrigin, SourceUsed};
use crate::plan::{Action, Base, BaseKey, BuildPlan, CopyFrom, CopySource, Mounted, StageBase};
use crate::request::{ContextSource, GitSource, NamedContext, SecretUrl};

use super::Services;
use super::attempt::Setting;

/// The digest of names, modes and contents of a context that is no archive any more.
const CONTENT: &str = "yadokariContent";

/// What was read.
pub(super) struct Dependencies {
    pub(super) list: Vec<Dependency>,
    /// Whether there is nothing else, and each has its digest.
    pub(super) is_complete: bool,
}

/// Lists what the stages of a plan have read.
pub(super) fn of(setting: &Setting<'_>, services: &Services) -> Dependencies {
    let Setting { request, plan, bases, context, .. } = *setting;
    let mut found = Dependencies { list: Vec::new(), is_complete: true };
    let mut images: Vec<(&BaseKey, &Base)> = bases.iter().filter(|(key, _)| is_used(plan, key)).collect();
    images.sort_by_key(|(key, _)| *key);
    for (key, base) in images {
        found.add(image(key, base));
    }
    if reads_context(plan) {
        found.context("context", context.origin.as_ref().map(Origin::of));
    }
    for (name, named) in &request.named_contexts {
        if matches!(named, NamedContext::Files(_)) && sources(plan).any(|from| *from == CopyFrom::Named(name.clone())) {
            found.context(name, origin_of(name, named, context));
        }
    }
    for source in added(plan) {
        found.add(addition(source, services));
    }
    for mount in plan.runs().flat_map(|run| &run.mounts) {
        if let Mounted::Cache(cache) = &mount.what {
            found.add(cache_mount(&cache.id));
        }
    }
    found
}

/// Tells whether a step takes files from the build context.
pub(super) fn reads_context(plan: &BuildPlan) -> bool {
    let reads = |action: &Action| match action {
        Action::Copy(copy) => {
            copy.from == CopyFrom::Context && copy.sources.iter().any(|source| matches!(source, CopySource::Path(_)))
        }
        other => other.sources().contains(&&CopyFrom::Context),
    };
    plan.steps().any(|step| reads(&step.action))
}

/// Returns what steps take files from.
pub(super) fn sources(plan: &BuildPlan) -> impl Iterator<Item = &CopyFrom> {
    plan.steps().flat_map(|step| step.action.sources())
}

/// Writes where a context is fetched from, without secrets; none where that is this machine.
pub(super) fn url(source: &ContextSource) -> Option<String> {
    match source {
        ContextSource::Directory(_) | ContextSource::Tar(_) | ContextSource::Stdin => None,
        ContextSource::Git(git) => Some(git_url(git)),
        ContextSource::Https(https) => Some(redacted(&https.url)),
        ContextSource::Gcs(object) => Some(format!("gs://{}/{}", object.bucket, object.key)),
        ContextSource::S3(object) => Some(format!("s3://{}/{}", object.bucket, object.key)),
        ContextSource::Azblob(url) => Some(redacted(url)),
    }
}

/// What is known of the way of a context that was fetched.
struct Origin<'a> {
    url: Option<&'a str>,
    source: Option<&'a SourceUsed>,
    content: DigestSet,
}

impl<'a> Origin<'a> {
    fn of(origin: &'a ContextOrigin) -> Self {
        let content = [(CONTENT.to_owned(), origin.content.hex().to_owned())].into();
        Self { url: origin.url.as_deref(), source: origin.source.as_ref(), content }
    }
}

/// Finds what is known of a named context that was fetched; none of one that was here.
fn origin_of<'a>(name: &str, named: &NamedContext, context: &'a Context) -> Option<Origin<'a>> {
    let files = context.named.get(name)?;
    match named {
        NamedContext::Files(ContextSource::Directory(_)) => None,
        _ => files.origin.as_ref().map(Origin::of),
    }
}

impl Dependencies {
    fn add(&mut self, dependency: Dependency) {
        self.is_complete &= !dependency.digest.is_empty();
        if !self.list.contains(&dependency) {
            self.list.push(dependency);
        }
    }

    /// Adds a context; one that is a directory of this machine cannot be told.
    fn context(&mut self, name: &str, origin: Option<Origin<'_>>) {
        match origin {
            None => self.is_complete = false,
            Some(Origin { source: Some(source), .. }) => {
                let named = (name != "context").then(|| name.to_owned());
                let digest = commit(&source.commit);
                self.add(Dependency { uri: source.url.clone(), digest, name: named, ..Dependency::default() });
            }
            Some(Origin { url, content, .. }) => {
                let uri = url.map_or_else(|| format!("archive:{name}"), str::to_owned);
                self.add(Dependency { uri, digest: content, name: Some(name.to_owned()), ..Dependency::default() });
            }
        }
    }
}

fn is_used(plan: &BuildPlan, key: &BaseKey) -> bool {
    plan.stages.iter().any(|stage| stage.base == StageBase::Image(key.clone()))
        || sources(plan).any(|from| *from == CopyFrom::Image(key.clone()))
}

fn image(key: &BaseKey, base: &Base) -> Dependency {
    let platform: Option<Platform> = key.platform.parse().ok();
    let uri = match &key.layout {
        None => purl::image(&key.reference, platform.as_ref()),
        Some(_) => purl::layout(&key.reference, platform.as_ref()),
    };
    let digest = base.pinned.digest.as_ref().map(sha256).unwrap_or_default();
    Dependency { uri, digest, ..Dependency::default() }
}

/// Returns what ADD brings from elsewhere.
fn added(plan: &BuildPlan) -> impl Iterator<Item = &CopySource> {
    let copies = plan.steps().filter_map(|step| match &step.action {
        Action::Copy(copy) => Some(&copy.sources),
        Action::Configure | Action::Run(_) | Action::Workdir(_) => None,
    });
    copies.flatten().filter(|source| source.is_remote())
}

fn addition(source: &CopySource, services: &Services) -> Dependency {
    let uri = match source {
        CopySource::Path(_) | CopySource::Inline { .. } => String::new(),
        CopySource::Url { source, .. } => redacted(&source.url),
        CopySource::Git(git) => git_url(git),
    };
    Dependency { uri, digest: services.additions.digest(source), ..Dependency::default() }
}

/// Tells of a directory that outlives builds: nobody can say what was in it.
fn cache_mount(id: &str) -> Dependency {
    let uri = format!("cache-mount:{id}");
    Dependency { uri, annotations: [("mutable", "true")].into(), ..Dependency::default() }
}

/// Writes a repository and what of it, as BuildKit does: `URL#REFERENCE`.
fn git_url(git: &GitSource) -> String {
    let reference = git.reference.as_ref().or(git.commit.as_ref());
    format!("{}{}", redacted(&git.url), reference.map(|name| format!("#{name}")).unwrap_or_default())
}

fn redacted(url: &SecretUrl) -> String {
    url.0.parse::<Url>().map_or_else(|_| redact_text(&url.0), |url| redact(&url))
}
