//! What is told of a Dockerfile, whether it is built or only looked at.
//!
//! Adds the findings that need the context to those of the parser and of the plan. *Invariant: everything that is told
//! went through [`Linted::of`].*

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::context::Context;
use crate::dockerfile::ignore::Patterns;
use crate::dockerfile::lint::{CHECK_ARGUMENT, Linted, Rule, SYNTAX_ARGUMENT, frontend};
use crate::dockerfile::{self, Dockerfile, Span, Warning, glob};
use crate::plan::{Action, BuildPlan, CopyFrom, CopySource, CopyStep, Stage, StageId, Step};
use crate::progress::{Event, Reporter};
use crate::request::BuildRequest;

use super::Error;
use super::copy::Source;

/// Parses the Dockerfile of a context. Where it is not valid, what should be changed before the fault is told first.
pub(super) fn parse(context: &Context, request: &BuildRequest, reporter: &dyn Reporter) -> Result<Dockerfile, Error> {
    reporter.report(Event::Reading { text: &context.dockerfile.text });
    let (dockerfile, fault) = dockerfile::parse_until_error(&context.dockerfile.text);
    let Some(fault) = fault else { return Ok(dockerfile) };
    let error = Error::from(fault);
    if let Ok(linted) = judge(&dockerfile, Err(&error), context, request) {
        tell(&linted, reporter);
    }
    Err(error)
}

/// Judges a Dockerfile, whether it could be planned or not.
pub(super) fn judge(
    dockerfile: &Dockerfile,
    planned: Result<&BuildPlan, &Error>,
    context: &Context,
    request: &BuildRequest,
) -> Result<Linted, Error> {
    let argument = request.build_args.get(CHECK_ARGUMENT).map(String::as_str);
    let options = dockerfile.check_options(argument)?;
    let syntax = request.build_args.get(SYNTAX_ARGUMENT);
    let mut found: Vec<Warning> = syntax.and_then(|named| frontend(named, Span::default())).into_iter().collect();
    match planned {
        Ok(plan) => {
            found.extend(plan.warnings.iter().cloned());
            found.extend(copies(plan).filter_map(|(_, step, _, path)| ignored(step, path, context)));
        }
        Err(Error::Plan(error)) => found.extend(error.warnings.iter().cloned()),
        Err(_) => {}
    }
    let built: Option<Vec<Span>> = planned.ok().map(|plan| plan.stages.iter().map(|stage| stage.span).collect());
    Ok(Linted::of(dockerfile, &found, &options, built.as_deref()))
}

/// Tells all findings.
pub(super) fn tell(linted: &Linted, reporter: &dyn Reporter) {
    for warning in &linted.warnings {
        let line = (warning.span != Span::default()).then_some(warning.span.first_line);
        reporter.report(Event::Warning { rule: warning.rule.name(), line, message: &warning.message });
    }
}

/// Refuses a Dockerfile that wants findings to be errors, and has some.
pub(super) fn refuse(linted: &Linted) -> Result<(), Error> {
    let first = linted.warnings.iter().find(|warning| linted.violated.contains(&warning.rule));
    match first {
        Some(first) => Err(Error::Lint { rules: linted.violated.clone() }.at(first.span, None)),
        None => Ok(()),
    }
}

/// Finds sources of COPY and ADD that are not in the context. The error is the first one's in a stage that the target
/// needs: the build fails with it.
pub(super) fn missing(plan: &BuildPlan, context: &Context) -> Result<(Vec<Warning>, Option<Error>), Error> {
    let everything = Patterns::default();
    let source = Source::context(&context.tree, &everything, false);
    let needed = needed(plan);
    let (mut found, mut error) = (Vec::new(), None);
    for (stage, step, copy, path) in copies(plan) {
        let relative = relative(path);
        if copy.parents || context.tree.real_path(&relative)?.is_some() {
            continue;
        }
        let near = source.near(&relative);
        let hint = near.as_ref().map(|near| format!(" (did you mean {}?)", near.display()));
        let message = format!("{path:?} is not in the context{}", hint.unwrap_or_default());
        found.push(Warning::new(Rule::CopyMissingFile, step.span, message).about(path));
        if error.is_none() && needed.contains(&stage) {
            error = Some(Error::from(source.missing(Path::new(path))).at(step.span, None));
        }
    }
    Ok((found, error))
}

/// Returns the target and all that it needs.
fn needed(plan: &BuildPlan) -> BTreeSet<StageId> {
    let mut needed = BTreeSet::new();
    let mut rest = vec![plan.target];
    while let Some(id) = rest.pop() {
        if needed.insert(id) {
            rest.extend(plan.stages.get(id.0).map(Stage::inputs).unwrap_or_default());
        }
    }
    needed
}

/// Returns the sources that name one path of the context, each with its stage.
fn copies(plan: &BuildPlan) -> impl Iterator<Item = (StageId, &Step, &CopyStep, &str)> {
    let steps =
        plan.stages.iter().enumerate().flat_map(|(id, stage)| stage.steps.iter().map(move |step| (StageId(id), step)));
    let copies = steps.filter_map(|(stage, step)| match &step.action {
        Action::Copy(copy) if copy.from == CopyFrom::Context => Some((stage, step, copy)),
        Action::Copy(_) | Action::Configure | Action::Run(_) | Action::Workdir(_) => None,
    });
    copies.flat_map(|(stage, step, copy)| {
        copy.sources.iter().filter_map(move |source| match source {
            CopySource::Path(path) if !glob::has_wildcards(path.as_bytes()) => Some((stage, step, copy, path.as_str())),
            _ => None,
        })
    })
}

fn ignored(step: &Step, path: &str, context: &Context) -> Option<Warning> {
    let relative = relative(path);
    let leaves_all = |pattern: &crate::dockerfile::ignore::Pattern| matches!(&*pattern.text, "*" | "**" | "**/*");
    let bytes = relative.as_os_str().as_encoded_bytes();
    let is_ignored = if bytes.is_empty() {
        !context.ignore.has_exceptions() && context.ignore.patterns().iter().any(leaves_all)
    } else {
        let matched = context.ignore.matches(bytes);
        matched.excluded && !context.ignore.may_reinclude_below(&matched, bytes)
    };
    if !is_ignored {
        return None;
    }
    let word = if step.text.starts_with("ADD") { "Add" } else { "Copy" };
    let shown = if bytes.is_empty() { ".".to_owned() } else { relative.display().to_string() };
    let message = format!("Attempting to {word} file {shown:?} that is excluded by .dockerignore");
    Some(Warning::new(Rule::CopyIgnoredFile, step.span, message).about(path))
}

/// Takes a source's text for a path below the context's root, as COPY does.
fn relative(path: &str) -> PathBuf {
    let mut relative = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => relative.push(name),
            Component::ParentDir => drop(relative.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    relative
}
