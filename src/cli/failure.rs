//! From the errors of a build to what a user is told: kind, exit code, place, causes, hints.

use std::io::ErrorKind;

use super::advice;
use super::exit::{Failure, Kind, Place};
use crate::builder::{Error, Failed};
use crate::cache::BaseError;
use crate::causes;
use crate::context;
use crate::dockerfile::{Span, form};
use crate::http::Meaning;
use crate::isolation::{self, Exit};
use crate::plan::ErrorReason;
use crate::registry;
use crate::{builder, image, inspect, output, rootfs, signing, trust};

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        let (error, place) = match &failed.error {
            Error::At { place, source } => (&**source, Some(&**place)),
            other => (other, None),
        };
        let mut failure = describe(error);
        if advice::is_full(error) {
            failure = Failure { kind: Kind::Disk, exit_code: Kind::Disk.exit_code(), ..failure };
        }
        if let Some(advice) = advice::of(error) {
            failure = failure.hint(advice);
        }
        failure = with_hint(failure, place.and_then(|place| place.hint.as_ref()));
        let span = place.map(|place| place.span).or_else(|| own_span(error));
        if let (Some(span), Some(dockerfile)) = (span, &failed.dockerfile) {
            let mut shown = shown(span, error, dockerfile);
            if let Some(step) = place.and_then(|place| place.step.as_ref()) {
                shown = shown.in_step(step);
            }
            let line = shown.source.first().map(|(_, line)| form::of_line(line));
            failure = failure.at(shown);
            if failure.hints.is_empty() && is_of_form(error) {
                failure = with_hint(failure, line.as_ref());
            }
        }
        failure
    }
}

/// Tells whether an instruction is not written as it should be.
fn is_of_form(error: &Error) -> bool {
    let Error::Plan(error) = error else { return false };
    match error.reason {
        ErrorReason::Invalid(_)
        | ErrorReason::Expansion { .. }
        | ErrorReason::Platform(_)
        | ErrorReason::EmptyBase(_)
        | ErrorReason::Reference { .. } => true,
        ErrorReason::UnknownTarget(_)
        | ErrorReason::UnknownStageNumber(_)
        | ErrorReason::Circle { .. }
        | ErrorReason::Unsupported(_)
        | ErrorReason::Offline(_)
        | ErrorReason::Trigger { .. } => false,
    }
}

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
        Error::Untrusted(error) => with_hint(of_kind(trust_kind(error)), key_hint(error).as_ref()),
        Error::Base { source, .. } => of_kind(registry_kind(source)),
        Error::Fetch { source, .. } => of_kind(fetch_kind(source)),
        Error::Copy(error) => of_kind(copy_kind(error)),
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
    if causes::of(error).any(|cause| cause.is::<image::OtherContent>()) {
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
            _ => with_hint(failure, key_hint(&error).as_ref()),
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

/// Says what to do about a key that a cloud keeps, where something can be done.
fn key_hint(error: &trust::Error) -> Option<String> {
    match error {
        trust::Error::Signing(signing::Error::Kms(error)) => error.hint().map(str::to_owned),
        _ => None,
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
        signing::Error::Kms(error) => of(error.meaning()),
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
