//! What is known of a copy before anything is pulled: whether the files are there that it names.

use crate::context::Context;
use crate::dockerfile::ignore::Patterns;
use crate::plan::{Action, BuildPlan, CopyFrom, CopySource, CopyStep};
use crate::rootfs::Tree;

use super::super::Error;
use super::Source;

/// Checks that contexts have what COPY and ADD name in them; what has wildcards is found when it is copied.
///
/// # Errors
/// The error that the step would end with, at its place.
pub(in crate::builder) fn check_sources(plan: &BuildPlan, context: &Context) -> Result<(), Error> {
    for stage in &plan.stages {
        for (number, step) in stage.steps.iter().enumerate() {
            let Action::Copy(copy) = &step.action else { continue };
            let (tree, ignore) = match &copy.from {
                CopyFrom::Context => (&context.tree, &context.ignore),
                CopyFrom::Named(name) => match context.named.get(name) {
                    Some(files) => (&files.tree, &files.ignore),
                    None => continue,
                },
                CopyFrom::Stage(_) | CopyFrom::Image(_) => continue,
            };
            check(copy, tree, ignore).map_err(|error| error.at(step.span, Some(&stage.step_id(number))))?;
        }
    }
    Ok(())
}

fn check(copy: &CopyStep, tree: &Tree, ignore: &Patterns) -> Result<(), Error> {
    if copy.parents {
        return Ok(());
    }
    let source = Source::context(tree, ignore, false);
    for named in &copy.sources {
        let CopySource::Path(pattern) = named else { continue };
        if pattern.contains(['*', '?', '[', '\\']) {
            continue;
        }
        for path in source.matches(pattern)? {
            if source.resolve(&path)?.is_none() {
                return Err(source.missing(&path).into());
            }
        }
    }
    Ok(())
}
