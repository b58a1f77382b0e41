//! The steps of one stage: each instruction with its words expanded, and what it does to the configuration.

use crate::dockerfile::{Instruction, Located};
use crate::image::Image;
use crate::oci::{ContainerConfig, Platform};
use crate::request::BuildRequest;

use super::draft::{Draft, Environment, Scope};
use super::graph::Node;
use super::variables::Variables;
use super::{Action, BaseKey, Bases, Error, Stage, Step, copy, run};

/// The path that is set where a base sets none. Source: BuildKit, util/system.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a stage starts with.
pub(super) struct Inherited {
    config: ContainerConfig,
    author: Option<String>,
    environment: Environment,
}

impl Inherited {
    /// Starts with nothing but a PATH.
    pub(super) fn scratch(platform: &Platform) -> Self {
        let config = ContainerConfig { working_dir: "/".to_owned(), ..ContainerConfig::default() };
        Self::config(config, None, platform.is_windows())
    }

    /// Starts with an image; its ONBUILD triggers are taken, not inherited.
    pub(super) fn image(bases: &Bases, key: &BaseKey, request: &BuildRequest) -> Self {
        let base = bases.get(key);
        let image: Option<&Image> = base.map(|base| &base.image);
        let config = image.map(|image| image.config.config.clone()).unwrap_or_default();
        let asked = request.platform_is_asked.then_some(&request.platform);
        let platform = image.map(|image| Platform::of_image(&image.config.platform, asked));
        let is_windows = platform.is_some_and(|platform| platform.is_windows());
        let mut inherited = Self::config(config, image.and_then(|image| image.config.author.clone()), is_windows);
        inherited.environment.is_partial = base.is_some_and(|base| !base.is_known());
        inherited
    }

    /// Starts with an earlier stage: also its ARGs are still in force.
    pub(super) fn stage(stage: &Stage, environment: &Environment) -> Self {
        let inherited = Self::config(stage.config.clone(), stage.author.clone(), environment.is_windows);
        Self { environment: environment.clone(), ..inherited }
    }

    fn config(mut config: ContainerConfig, author: Option<String>, is_windows: bool) -> Self {
        config.on_build.clear();
        let mut variables = Variables::from_environment(&config.env);
        if variables.get("PATH").is_none() && !is_windows {
            variables.set("PATH", DEFAULT_PATH);
            config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        let environment = Environment { variables, is_windows, ..Environment::default() };
        Self { config, author, environment }
    }
}

/// Plans a stage; also returns what a stage based on it inherits.
pub(super) fn plan_stage(
    node: &Node<'_>,
    inherited: Inherited,
    scope: &Scope<'_>,
) -> Result<(Stage, Environment), Error> {
    let variables = inherited.environment.variables.all().iter();
    scope.budget.spend(variables.map(|(name, value)| name.len() + value.len()).sum(), node.stage.span)?;
    let mut draft = Draft::new(node, scope, inherited.config, inherited.author, inherited.environment);
    let mut steps = Vec::new();
    for located in node.triggers.iter().chain(&node.stage.instructions) {
        steps.push(step(&mut draft, located)?);
    }
    let stage = Stage {
        name: node.name.clone(),
        base: node.base.clone(),
        platform: node.platform.clone(),
        steps,
        config: draft.config,
        author: draft.author,
        span: node.stage.span,
        text: node.stage.original.clone(),
    };
    Ok((stage, draft.environment))
}

/// Plans one instruction.
fn step(draft: &mut Draft<'_>, located: &Located) -> Result<Step, Error> {
    let span = located.span;
    let (action, created_by) = match &located.instruction {
        Instruction::Run(instruction) => run::plan_run(draft, instruction, span)?,
        Instruction::Copy(instruction) => copy::plan_copy(draft, instruction, span)?,
        Instruction::Add(instruction) => copy::plan_add(draft, instruction, span)?,
        Instruction::Workdir(word) => draft.workdir(word, span)?,
        Instruction::Onbuild(onbuild) => {
            draft.config.on_build.push(onbuild.instruction_text.clone());
            (Action::Configure, None)
        }
        configuring => (Action::Configure, Some(draft.configure(configuring, span)?)),
    };
    if draft.environment.is_windows && action != Action::Configure {
        let message = "this image is for Windows, whose files this executor does not make: only instructions that \
                       change the configuration can stand here";
        return Err(Error::invalid(span, message.to_owned()));
    }
    Ok(Step { span, text: located.original.clone(), created_by, action })
}
