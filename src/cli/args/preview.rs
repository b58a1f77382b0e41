//! The flags of `yadokari check` and `yadokari plan`, which take those of a build as well.

use clap::{Args, ValueEnum};

/// Looks for what should be changed in a Dockerfile, without building it.
///
/// Takes the flags of a build, so that the same words can be checked and built. All stages are looked at unless
/// --target names one. Findings go to standard output; `# check=skip=RULE` in the Dockerfile skips a rule. What a
/// registry does not tell about its images is left out.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The form of the findings.
    #[arg(long, value_name = "FORMAT", default_value = "text", ignore_case = true)]
    pub format: FindingsFormatName,
    /// End with exit code 76 when anything is found; without it, only a Dockerfile that cannot be built does.
    #[arg(long)]
    pub error: bool,
    /// The flags of a build.
    #[command(flatten)]
    pub build: super::Args,
}

/// Shows what would be built, without building it: stages, steps, values, inputs.
///
/// Takes the flags of a build, so that the same words can be planned and built. The plan goes to standard output.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The form of the plan.
    #[arg(long, value_name = "FORMAT", default_value = "text", ignore_case = true)]
    pub format: FormatName,
    /// The flags of a build.
    #[command(flatten)]
    pub build: super::Args,
}

impl CheckArgs {
    /// Says that the image may go nowhere: no destination is needed.
    pub(super) fn without_destination(mut self) -> Self {
        self.build.limits.dryrun = true;
        self
    }
}

impl PlanArgs {
    /// Makes a plan of a build with --dryrun.
    pub(super) fn dry_run(build: super::Args) -> Self {
        Self { format: FormatName::Text, build }
    }

    /// Says that the image may go nowhere: no destination is needed.
    pub(super) fn without_destination(mut self) -> Self {
        self.build.limits.dryrun = true;
        self
    }
}

/// The names of the forms of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FindingsFormatName {
    /// For people: each with its line.
    Text,
    /// One JSON object.
    Json,
    /// SARIF 2.1.0, which code hosts show beside the lines.
    Sarif,
}

/// The names of the forms of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatName {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}
