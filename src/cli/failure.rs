//! From the errors of a build to what a user is told: kind, exit code, place, causes, hints.

use std::io::ErrorKind;
use std::path::Component;

use super::exit::{Failure, Kind, Place};
use crate::builder::{CopyError, Error, Failed};
use crate::cache::BaseError;
use crate::causes;
use crate::context;
use crate::dockerfile::Span;
use crate::http::Meaning;
use crate::isolation::{self, Exit};
use crate::registry;
use crate::{builder, image, inspect, output, rootfs, signing, trust};

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        let (error, place) = match &failed.error {
            Error::At { place, source } => (&**source, Some(&**place)),
            other => (other, None),
        };
        let mut failure = describe(error);
        if is_full(error) {
            failure = Failure { kind: Kind::Disk, exit_code: Kind::Disk.exit_code(), ..failure };
            failure = failure.hint(full(error));
        }
        if let Some(advice) = advice(error) {
            failure = failure.hint(advice);
        }
        failure = with_hint(failure, place.and_then(|place| place.hint.as_ref()));
        let span = place.map(|place| place.span).or_else(|| own_span(error));
        if let (Some(span), Some(dockerfile)) = (span, &failed.dockerfile) {
            let mut shown = shown(span, error, dockerfile);
            if let Some(step) = place.and_then(|place| place.step.as_ref()) {
                shown = shown.in_step(step);
            }
            failure = failure.at(shown);
        }
        failure
    }
}

/// Whatever was being done: no space left is a trouble of its own.
fn is_full(error: &Error) -> bool {
    let is_full = |io: &std::io::Error| matches!(io.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    causes::of(error).any(|cause| cause.downcast_ref().is_some_and(is_full))
}

/// Says whose disk is full.
fn full(error: &Error) -> String {
    match error {
        Error::Output(output::Error::Write { path, .. }) => {
            format!("the disk of the output {} is full: make room there, or write it elsewhere", path.display())
        }
        Error::Output(output::Error::Files { .. } | output::Error::Rootfs(_)) => {
            "the disk of an output is full: make room there, or write it elsewhere".to_owned()
        }
        _ => {
            "the disk of the executor's own files is full, where layers and root file systems are: give --state-dir a \
              larger one, or the pod more ephemeral storage"
                .to_owned()
        }
    }
}

/// Says what to do about what has happened, whoever has met it.
fn advice(error: &Error) -> Option<String> {
    let is_too_many = |error: &registry::Error| matches!(error, registry::Error::Status { status, .. } if status.as_u16() == TOO_MANY_REQUESTS);
    let of_output = match error {
        Error::Output(output::Error::Registry(error)) => Some(error),
        _ => None,
    };
    let mut of_registry = of_output.into_iter().chain(causes::of(error).filter_map(|cause| cause.downcast_ref()));
    if of_registry.any(is_too_many) {
        let advice = "the registry limits how much is asked of it: log in (anonymous users get least), pull through a \
                      mirror (--registry-mirror, --registry-map), or bring the bases once with `yadokari warmer`";
        return Some(advice.to_owned());
    }
    let Error::Context(error) = error else { return None };
    let advice = match error {
        context::Error::NoContext { .. } => "--context names it; without the flag it is /workspace/",
        context::Error::DockerfileIsDirectory { .. } => {
            "--dockerfile names a file; as a context, the directory is --context"
        }
        context::Error::NoDockerfile { .. } => "--dockerfile names it; without the flag it is Dockerfile",
        _ => return None,
    };
    Some(advice.to_owned())
}

const TOO_MANY_REQUESTS: u16 = 429;

fn shown(span: Span, error: &Error, dockerfile: &context::Dockerfile) -> Place {
    let text = String::from_utf8_lossy(&dockerfile.text);
    let line = if let Error::Parse(parse) = error { parse.line } else { span.first_line };
    let mut place = Place::new(dockerfile.name.display().to_string(), line, &text, span.first_line..=span.last_line);
    if let Error::Parse(parse) = error {
        place.column = Some(parse.column);
    }
    place
}

fn own_span(error: &Error) -> Option<Span> {
    match error {
        Error::Parse(error) => Some(error.span),
        Error::Plan(error) => error.span,
        _ => None,
    }
}

fn describe(error: &Error) -> Failure {
    let of_kind = |kind| Failure::from_error(kind, error);
    match error {
        Error::Run { exit, hint } => with_hint(run(*exit, error), hint.as_ref()),
        Error::Hidden { .. } => of_kind(Kind::System).hint(ELSEWHERE),
        Error::Isolation(isolation::Error::Written { path, .. }) => of_kind(Kind::System).hint(format!(
            "{ELSEWHERE}; if another step or container of the pod has written it, --ignore-path={}",
            path.display()
        )),
        Error::Plan(plan) => with_hint(of_kind(Kind::Dockerfile), plan.hint.as_ref()),
        Error::NotGiven { hint, .. } => of_kind(Kind::Usage).hint(hint.clone()),
        Error::Unable { hint, .. } => of_kind(Kind::System).hint(hint.clone()),
        Error::Offline { .. } => of_kind(Kind::Dockerfile)
            .hint("give it with --build-context NAME=oci-layout://DIRECTORY, or leave --offline out"),
        Error::Lint { .. } => of_kind(Kind::Dockerfile).hint(
            "each is told above with its line; `# check=skip=RULE` above an instruction or the file skips a rule",
        ),
        Error::Context(error) => of_kind(context_kind(error)),
        Error::Parse(parse) => with_hint(of_kind(Kind::Dockerfile), parse.hint.as_ref()),
        Error::BadBase { .. } | Error::User { .. } | Error::Epoch { .. } | Error::EpochStage { .. } => {
            of_kind(Kind::Dockerfile)
        }
        Error::Tampered { .. } => of_kind(Kind::Dockerfile)
            .hint("in this isolation RUN can reach the files of the executor, and must leave them alone"),
        Error::Untrusted(error) if trust_kind(error) == Kind::Untrusted => of_kind(Kind::Untrusted).hint(UNTRUSTED),
        Error::Untrusted(error) => of_kind(trust_kind(error)),
        Error::Base { source, .. } => of_kind(registry_kind(source)),
        Error::Fetch { source, .. } => of_kind(fetch_kind(source)),
        Error::Copy(error) => {
            let hint = match error {
                CopyError::Misspelt { near, .. } => Some(format!("did you mean {}?", near.display())),
                CopyError::NotFound { path } if path.components().any(|part| part == Component::ParentDir) => Some(
                    "paths stay in the source: its top has nothing above it. Take a directory further up as --context"
                        .to_owned(),
                ),
                _ => None,
            };
            with_hint(of_kind(copy_kind(error)), hint.as_ref())
        }
        Error::Layer { source, .. } => of_kind(fetch_kind(source)),
        Error::Rootfs(rootfs::Error::Layer { source }) => of_kind(fetch_kind(source)),
        Error::Write(_) | Error::State { .. } | Error::Store(_) | Error::Cache(_) | Error::Rootfs(_) => {
            of_kind(Kind::Disk)
        }
        Error::Isolation(isolation::Error::InitKilled { signal }) => run(Exit::Signal(*signal), error),
        Error::Isolation(error) => of_kind(isolation_kind(error)),
        Error::Output(output) => of_kind(output_kind(output)),
        Error::Attest(_) => of_kind(Kind::Bug),
        Error::Interrupted => of_kind(Kind::Terminated),
        Error::At { source, .. } => describe(source),
    }
}

/// What to do about a mount that is in the image's way.
const ELSEWHERE: &str = "mount it where the image has nothing (the context at /context, say, with --context=/context), or \
    use --isolation mediated or namespace where the cluster allows them, or chroot, in which RUN has no /proc";

fn with_hint(failure: Failure, hint: Option<&String>) -> Failure {
    match hint {
        Some(hint) => failure.hint(hint.clone()),
        None => failure,
    }
}

fn run(exit: Exit, error: &Error) -> Failure {
    let code = match exit {
        Exit::Status(status) => u8::try_from(status).unwrap_or(u8::MAX),
        Exit::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
    };
    Failure::run(code, error.to_string())
}

fn context_kind(error: &context::Error) -> Kind {
    match error.kind() {
        context::ErrorKind::Wrong => Kind::Dockerfile,
        context::ErrorKind::Settings => Kind::Usage,
        context::ErrorKind::Transient => Kind::Transient,
        context::ErrorKind::Denied => Kind::Denied,
        context::ErrorKind::Disk => Kind::Disk,
        context::ErrorKind::Interrupted => Kind::Terminated,
    }
}

/// Which kind a failure of a registry is that is read from.
pub(super) fn registry_kind(error: &registry::Error) -> Kind {
    any_registry_kind(error).unwrap_or(Kind::Dockerfile)
}

/// Which kind a failure of a registry is that is written to.
pub(super) fn destination_kind(error: &registry::Error) -> Kind {
    any_registry_kind(error).unwrap_or(Kind::Output)
}

/// Which kind it is whatever was wanted of the registry; none where it does not have what we read, or does not take what
/// we write.
fn any_registry_kind(error: &registry::Error) -> Option<Kind> {
    match error.kind() {
        registry::ErrorKind::Transient | registry::ErrorKind::Damaged => Some(Kind::Transient),
        registry::ErrorKind::Denied => Some(Kind::Denied),
        registry::ErrorKind::Settings => Some(Kind::Usage),
        registry::ErrorKind::Unreachable => Some(Kind::Dockerfile),
        registry::ErrorKind::Local => Some(Kind::Disk),
        registry::ErrorKind::NotFound | registry::ErrorKind::Invalid | registry::ErrorKind::Other => None,
    }
}

/// A layer's stream hands its registry's error on as the source of an input error. What neither a registry nor the system
/// refused is content that is not what it should be.
fn fetch_kind(error: &(dyn std::error::Error + 'static)) -> Kind {
    if causes::of(error).any(|cause| cause.is::<builder::OtherContent>()) {
        return Kind::Dockerfile;
    }
    if let Some(kind) = causes::of(error).find_map(|cause| cause.downcast_ref()).map(registry_kind) {
        return kind;
    }
    let of_system = |error: &std::io::Error| error.raw_os_error().is_some() || error.kind() == ErrorKind::NotFound;
    let is_of_system = causes::of(error).any(|cause| cause.downcast_ref().is_some_and(of_system));
    if is_of_system { Kind::Disk } else { Kind::Dockerfile }
}

fn copy_kind(error: &builder::CopyError) -> Kind {
    match error {
        builder::CopyError::Spool { .. } | builder::CopyError::NotExtracted { .. } => Kind::Disk,
        builder::CopyError::Layer(error) => fetch_kind(error),
        builder::CopyError::Tree(_) => Kind::Disk,
        _ => Kind::Dockerfile,
    }
}

/// Which kind a failure of the isolation is.
pub(super) fn isolation_kind(error: &isolation::Error) -> Kind {
    match error {
        isolation::Error::Interrupted => Kind::Terminated,
        isolation::Error::Files { .. } | isolation::Error::PutBack { .. } | isolation::Error::Rootfs(_) => Kind::Disk,
        isolation::Error::WorkingDirectory { .. }
        | isolation::Error::Moved { .. }
        | isolation::Error::Linked { .. }
        | isolation::Error::Target { .. }
        | isolation::Error::ProgramChanged { .. }
        | isolation::Error::AsideChanged { .. } => Kind::Dockerfile,
        _ => Kind::System,
    }
}

/// Which kind a failure of the warmer is.
pub(super) fn base_kind(error: &BaseError) -> Kind {
    match error {
        BaseError::Registry(error) => registry_kind(error),
        BaseError::Store(_) => Kind::Disk,
        BaseError::Layer { source, .. } => fetch_kind(source),
    }
}

impl From<inspect::Error> for Failure {
    fn from(error: inspect::Error) -> Self {
        let kind = match &error {
            inspect::Error::Registry(error) => registry_kind(error),
            inspect::Error::Packed(error) => output_kind(error),
            inspect::Error::Trust(error) => trust_kind(error),
            inspect::Error::Layer { source, .. } | inspect::Error::Files { source, .. } => fetch_kind(source),
            inspect::Error::NoImage { .. }
            | inspect::Error::Manifest { .. }
            | inspect::Error::Config { .. }
            | inspect::Error::Unfit { .. }
            | inspect::Error::Platform { .. } => Kind::Dockerfile,
            inspect::Error::Task(_) => Kind::Bug,
        };
        Self::from_error(kind, &error)
    }
}

impl From<trust::Error> for Failure {
    fn from(error: trust::Error) -> Self {
        let kind = trust_kind(&error);
        let failure = Self::from_error(kind, &error);
        match kind {
            Kind::Untrusted => failure.hint(UNTRUSTED),
            _ => failure,
        }
    }
}

/// What to do about an image that is not signed by whom it must be.
const UNTRUSTED: &str = "use an image that is, let its owner sign it (`yadokari sign IMAGE@DIGEST --key FILE`), or change what \
    is asked for";

/// Which kind a failure of signatures is.
fn trust_kind(error: &trust::Error) -> Kind {
    match error {
        trust::Error::Registry(error) => registry_kind(error),
        trust::Error::Signing(error) => signing_kind(error),
        trust::Error::Statement(_) => Kind::Bug,
        trust::Error::Manifest { .. }
        | trust::Error::Unfit { .. }
        | trust::Error::Unsigned { .. }
        | trust::Error::Untrusted { .. } => Kind::Untrusted,
        trust::Error::NoImage { .. } => Kind::Dockerfile,
    }
}

/// Which kind it is that nothing signs.
fn signing_kind(error: &signing::Error) -> Kind {
    let of = |meaning| match meaning {
        Meaning::Transient => Kind::Transient,
        Meaning::Denied => Kind::Denied,
        Meaning::Settings | Meaning::Wrong => Kind::Usage,
    };
    match error {
        signing::Error::Key(_) | signing::Error::Token(_) | signing::Error::Service(_) => Kind::Usage,
        signing::Error::Http(error) => of(error.meaning()),
        signing::Error::Refused { meaning, .. } => of(*meaning),
    }
}

pub(super) fn output_kind(error: &output::Error) -> Kind {
    match error {
        output::Error::Registry(error)
        | output::Error::Partly { source: error, .. }
        | output::Error::Attachment { source: error, .. } => destination_kind(error),
        output::Error::Layer { source, .. } => fetch_kind(source),
        output::Error::Put { meaning, .. } => match meaning {
            Meaning::Transient => Kind::Transient,
            Meaning::Settings => Kind::Usage,
            Meaning::Wrong => Kind::Dockerfile,
            // Nothing of ours is refused: the server does not take the value.
            Meaning::Denied => Kind::Output,
        },
        output::Error::Write { .. } => Kind::Output,
        output::Error::Files { source: image::Error::Write { .. } } | output::Error::Rootfs(_) => Kind::Output,
        output::Error::Files { source } => fetch_kind(source),
        output::Error::Store(_) => Kind::Disk,
        output::Error::Part { source, .. } => registry_kind(source),
        output::Error::Packed { .. } | output::Error::NoPart { .. } | output::Error::SamePlatform { .. } => {
            Kind::Dockerfile
        }
        output::Error::TooLarge { .. } | output::Error::NoMediaType { .. } => Kind::Usage,
        output::Error::Task(_) => Kind::Bug,
    }
}
