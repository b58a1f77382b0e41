//! A plan as text, for people who want to know what would be done.

use std::fmt;

use super::{Bases, BuildPlan, Stage, StageBase};

/// Shows a plan: each stage with what it is based on, and its steps.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    /// The plan.
    pub plan: &'a BuildPlan,
    /// The images that it is based on.
    pub bases: &'a Bases,
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for stage in &self.plan.stages {
            writeln!(f, "[{}] {} ({}, {})", stage.name, stage.text, self.base(stage), stage.platform)?;
            for (number, step) in stage.steps.iter().enumerate() {
                let needs = if step.action.needs_rootfs() { "" } else { " (no root file system)" };
                writeln!(f, "{} {}{needs}", stage.step_id(number), step.text)?;
            }
        }
        Ok(())
    }
}

impl Listing<'_> {
    fn base(&self, stage: &Stage) -> String {
        match &stage.base {
            StageBase::Scratch => "empty".to_owned(),
            StageBase::Stage(id) => format!("stage {}", self.plan.stages[id.0].name),
            StageBase::Image(key) => match self.bases.get(key) {
                Some(base) => base.pinned.to_string(),
                None => key.reference.to_string(),
            },
        }
    }
}
