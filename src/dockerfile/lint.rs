//! Warnings that need more than one line, under BuildKit's rule names.

use std::collections::HashSet;

use super::error::Warning;
use super::instruction::{Instruction, Span, Stage};

/// Warns of stage names used twice or reserved, and of instructions that a later one overrides.
pub(super) fn stages(stages: &[Stage], warnings: &mut Vec<Warning>) {
    let mut names = HashSet::new();
    for stage in stages {
        let mut warn = |rule, message| warnings.push(Warning { rule, span: stage.span, message });
        if let Some(name @ ("context" | "scratch")) = stage.name.as_deref() {
            warn("ReservedStageName", format!("Stage name should not use the same name as reserved stage {name:?}"));
        }
        if let Some(name) = stage.name.as_deref().filter(|name| !names.insert(*name)) {
            warn("DuplicateStageName", format!("Duplicate stage name {name:?}, stage names should be unique"));
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
            warnings.push(Warning { rule: "MultipleInstructionsDisallowed", span: located.span, message });
        }
    }
}

/// Warns of keywords that are not in the case that most are in; on a draw, upper case is right.
pub(super) fn casing(keywords: &[(&str, Span)], warnings: &mut Vec<Warning>) {
    let is_lower = |keyword: &str| keyword == keyword.to_lowercase();
    let is_upper = |keyword: &str| keyword == keyword.to_uppercase();
    let lower = keywords.iter().filter(|(keyword, _)| is_lower(keyword)).count();
    let upper = keywords.iter().filter(|(keyword, _)| is_upper(keyword)).count();
    let majority = if lower > upper { "lowercase" } else { "uppercase" };
    for (keyword, span) in keywords {
        let matches = if lower > upper { is_lower(keyword) } else { is_upper(keyword) };
        if !matches {
            let message = format!("Command '{keyword}' should match the case of the command majority ({majority})");
            warnings.push(Warning { rule: "ConsistentInstructionCasing", span: *span, message });
        }
    }
}
