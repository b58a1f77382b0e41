//! Findings that need more than one line of the file, but nothing else.

use std::collections::HashSet;

use super::super::Dockerfile;
use super::super::error::Warning;
use super::super::instruction::{Instruction, Span, Stage};
use super::Rule;

/// Warns of stage names used twice or reserved, and of instructions that a later one overrides.
pub(in crate::dockerfile) fn stages(stages: &[Stage], warnings: &mut Vec<Warning>) {
    let mut names = HashSet::new();
    for stage in stages {
        let mut warn = |rule, name: &str, message| {
            let subject = stage.from.name.as_deref().unwrap_or(name);
            warnings.push(Warning::new(rule, stage.span, message).about(subject));
        };
        if let Some(name @ ("context" | "scratch")) = stage.name.as_deref() {
            let message = format!("Stage name should not use the same name as reserved stage {name:?}");
            warn(Rule::ReservedStageName, name, message);
        }
        if let Some(name) = stage.name.as_deref().filter(|name| !names.insert(*name)) {
            let message = format!("Duplicate stage name {name:?}, stage names should be unique");
            warn(Rule::DuplicateStageName, name, message);
        }
        overridden(stage, warnings);
    }
}

fn overridden(stage: &Stage, warnings: &mut Vec<Warning>) {
    let is_single = |instruction: &Instruction| {
        matches!(instruction, Instruction::Cmd(_) | Instruction::Entrypoint(_) | Instruction::Healthcheck(_))
    };
    for (index, located) in stage.instructions.iter().enumerate().filter(|(_, located)| is_single(&located.instruction))
    {
        let keyword = located.instruction.keyword();
        if stage.instructions[index + 1..].iter().any(|later| later.instruction.keyword() == keyword) {
            let message = format!(
                "Multiple {keyword} instructions should not be used in the same stage because only the last one will \
                 be used"
            );
            warnings.push(Warning::new(Rule::MultipleInstructionsDisallowed, located.span, message));
        }
    }
}

/// Warns of keywords that are not in the case that most are in; on a draw, upper case is right.
pub(in crate::dockerfile) fn casing(keywords: &[(&str, Span)], warnings: &mut Vec<Warning>) {
    let is_lower = |keyword: &str| keyword == keyword.to_lowercase();
    let is_upper = |keyword: &str| keyword == keyword.to_uppercase();
    let lower = keywords.iter().filter(|(keyword, _)| is_lower(keyword)).count();
    let upper = keywords.iter().filter(|(keyword, _)| is_upper(keyword)).count();
    let majority = if lower > upper { "lowercase" } else { "uppercase" };
    for (keyword, span) in keywords {
        let matches = if lower > upper { is_lower(keyword) } else { is_upper(keyword) };
        if !matches {
            let message = format!("Command '{keyword}' should match the case of the command majority ({majority})");
            warnings.push(Warning::new(Rule::ConsistentInstructionCasing, *span, message).about(*keyword));
        }
    }
}

/// Warns of comments above a named stage or an ARG that do not begin with its name.
pub(in crate::dockerfile) fn definitions(dockerfile: &Dockerfile) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut check = |keyword: &str, names: &[&str], span: Span| {
        let comments = dockerfile.comments.get(&span.start).map(Vec::as_slice).unwrap_or_default();
        let Some(comment) = comments.iter().rfind(|comment| !comment.starts_with("check=")) else { return };
        let first = comment.split(' ').next().unwrap_or_default();
        let example = match names {
            [] => return,
            names if names.contains(&first) => return,
            [name] => name,
            _ => "<arg_key>",
        };
        let message = format!("Comment for {keyword} should follow the format: `# {example} <description>`");
        warnings.push(Warning::new(Rule::InvalidDefinitionDescription, span, message));
    };
    let names = |arguments: &[super::super::Argument]| -> Vec<String> {
        arguments.iter().map(|argument| argument.name.clone()).collect()
    };
    for argument in &dockerfile.arguments {
        let names = names(&argument.value.arguments);
        check("ARG", &names.iter().map(String::as_str).collect::<Vec<_>>(), argument.span);
    }
    for stage in &dockerfile.stages {
        check("FROM", stage.name.as_deref().as_slice(), stage.span);
        for located in &stage.instructions {
            if let Instruction::Arg(argument) = &located.instruction {
                let names = names(&argument.arguments);
                check("ARG", &names.iter().map(String::as_str).collect::<Vec<_>>(), located.span);
            }
        }
    }
    warnings
}
