//! What is told of a Dockerfile, whether it is built or only looked at.
//!
//! Adds the findings that need the context to those of the parser and of the plan. *Invariant: everything that is told
//! went through [`Linted::of`].*

use std::path::{Component, Path, PathBuf};

use crate::context::Context;
use crate::dockerfile::ignore::Patterns;
use crate::dockerfile::lint::{CHECK_ARGUMENT, Linted, Rule};
use crate::dockerfile::{Dockerfile, Span, Warning, glob};
use crate::plan::{Action, BuildPlan, CopyFrom, CopySource, CopyStep, Step};
use crate::progress::{Event, Reporter};
use crate::request::BuildRequest;

use super::Error;
use super::copy::Source;

/// Judges a Dockerfile, whether it could be planned or not.
pub(super) fn judge(
    dockerfile: &Dockerfile,
    planned: Result<&BuildPlan, &Error>,
    context: &Context,
    request: &BuildRequest,
) -> Result<Linted, Error> {
    let argument = request.build_args.get(CHECK_ARGUMENT).map(String::as_str);
    let options = dockerfile.check_options(argument)?;
    let mut found = Vec::new();
    match planned {
        Ok(plan) => {
            found.extend(plan.warnings.iter().cloned());
            found.extend(copies(plan).filter_map(|(step, _, path)| ignored(step, path, context)));
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

/// Finds sources of COPY and ADD that are not in the context: such a build would fail.
pub(super) fn missing(plan: &BuildPlan, context: &Context) -> Result<Vec<Warning>, Error> {
    let source = Source::Context { tree: &context.tree, ignore: &Patterns::default(), apart: false };
    let mut found = Vec::new();
    for (step, copy, path) in copies(plan) {
        let relative = relative(path);
        if copy.parents || context.tree.real_path(&relative)?.is_some() {
            continue;
        }
        let hint = source.near(&relative).map(|near| format!(" (did you mean {}?)", near.display()));
        let message = format!("{path:?} is not in the context{}", hint.unwrap_or_default());
        found.push(Warning::new(Rule::CopyMissingFile, step.span, message).about(path));
    }
    Ok(found)
}

/// Returns the sources that name one path of the context.
fn copies(plan: &BuildPlan) -> impl Iterator<Item = (&Step, &CopyStep, &str)> {
    let steps = plan.stages.iter().flat_map(|stage| &stage.steps);
    let copies = steps.filter_map(|step| match &step.action {
        Action::Copy(copy) if copy.from == CopyFrom::Context => Some((step, copy)),
        Action::Copy(_) | Action::Configure | Action::Run(_) | Action::Workdir(_) => None,
    });
    copies.flat_map(|(step, copy)| {
        copy.sources.iter().filter_map(move |source| match source {
            CopySource::Path(path) if !glob::has_wildcards(path.as_bytes()) => Some((step, copy, path.as_str())),
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
