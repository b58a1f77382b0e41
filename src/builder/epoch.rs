//! `SOURCE_DATE_EPOCH` where it is known only now: a default of the Dockerfile, or a name of what has a time.
//!
//! Source: BuildKit, docs/build-repro.md: the value of the build argument, else the default of an ARG before the first FROM;
//! seconds since 1970, `context`, a named context, or a stage that is nothing but one ADD from elsewhere.
//!
//! *Invariant: from here on a request has the seconds alone.*

use std::borrow::Cow;

use crate::context::Context;
use crate::dockerfile::Dockerfile;
use crate::plan::{self, Action, Bases, CopyStep, Extent, Planned, Stage, StageBase};
use crate::progress::Event;
use crate::request::{BuildRequest, EPOCH_ARGUMENT, epoch_in};

use super::additions::Added;
use super::{Error, Services};

/// Returns the request with the time that the Dockerfile and the context give it.
pub(super) fn settled<'r>(
    request: &'r BuildRequest,
    dockerfile: &Dockerfile,
    context: &Context,
    services: &Services,
) -> Result<Cow<'r, BuildRequest>, Error> {
    let value = match (&request.epoch_of, request.build_args.contains_key(EPOCH_ARGUMENT)) {
        (Some(name), _) => Some(name.clone()),
        (None, true) => None,
        (None, false) => plan::global_argument(dockerfile, request, EPOCH_ARGUMENT)?,
    };
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(Cow::Borrowed(request)) };
    let invalid = || Error::Epoch { value: value.clone() };
    let epoch = match value.parse::<i64>() {
        Ok(_) => Some(epoch_in(&value).ok_or_else(invalid)?),
        Err(_) => time_of(&value, request, dockerfile, context, services)?,
    };
    let mut settled = request.clone();
    match epoch {
        Some(seconds) => {
            settled.build_args.insert(EPOCH_ARGUMENT.to_owned(), seconds.to_string());
            (settled.epoch, settled.created) = (Some(seconds), seconds);
        }
        None => {
            let note = format!("{EPOCH_ARGUMENT} stays unset: nothing says when {value} was changed last");
            services.reporter.report(Event::Note(&note));
            settled.build_args.insert(EPOCH_ARGUMENT.to_owned(), String::new());
        }
    }
    settled.epoch_of = None;
    Ok(Cow::Owned(settled))
}

/// Returns the time of what has this name.
fn time_of(
    name: &str,
    request: &BuildRequest,
    dockerfile: &Dockerfile,
    context: &Context,
    services: &Services,
) -> Result<Option<i64>, Error> {
    if name == "context" {
        return Ok(context.changed.seconds(&context.tree)?);
    }
    if let Some(files) = context.named.get(name) {
        return Ok(files.changed.seconds(&files.tree)?);
    }
    if !dockerfile.stages.iter().any(|stage| stage.name.as_deref() == Some(&name.to_lowercase())) {
        return Err(Error::Epoch { value: name.to_owned() });
    }
    let wrong = || Error::EpochStage { stage: name.to_owned() };
    let target = BuildRequest { target: Some(name.to_owned()), epoch_of: None, ..request.clone() };
    let Planned::Complete(plan) = plan::plan_stages(dockerfile, &Bases::new(), &target, Extent::Target)? else {
        return Err(wrong());
    };
    let [stage] = &plan.stages[..] else { return Err(wrong()) };
    let step = only_addition(stage).ok_or_else(wrong)?;
    match services.additions.of_step(step, request, services)?.first() {
        Some(Some(added)) => Ok(match &**added {
            Added::File { modified, .. } => modified.map(|modified| modified.seconds),
            Added::Tree(checkout) => checkout.time,
        }),
        Some(None) | None => Err(wrong()),
    }
}

/// Returns the one step of a stage that is nothing but an ADD of one source from elsewhere.
fn only_addition(stage: &Stage) -> Option<&CopyStep> {
    let mut copies = stage.steps.iter().filter_map(|step| match &step.action {
        Action::Copy(copy) => Some(Some(copy)),
        // What ARG leaves is no more than a line of history.
        Action::Configure if step.text.trim_start().get(..3).is_some_and(|word| word.eq_ignore_ascii_case("ARG")) => {
            None
        }
        Action::Configure | Action::Run(_) | Action::Workdir(_) => Some(None),
    });
    match (copies.next(), copies.next()) {
        (Some(Some(copy)), None) => {
            let is_one = matches!(&copy.sources[..], [source] if source.is_remote());
            (stage.base == StageBase::Scratch && is_one).then_some(copy)
        }
        _ => None,
    }
}
