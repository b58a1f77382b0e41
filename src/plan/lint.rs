//! Findings that need the values of variables or a base image's configuration.
//!
//! Knows BuildKit's rules for them; decides neither what is told nor whether it fails the build: that is
//! [`Linted`](crate::dockerfile::lint::Linted)'s.
//!
//! *Invariant: a finding never changes what is planned.*

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::dockerfile::expand::Expanded;
use crate::dockerfile::lint::{CHECK_ARGUMENT, Rule};
use crate::dockerfile::{Argument, Dockerfile, Instruction, Located, Span, Stage, Warning, suggest};
use crate::oci::{Platform, Reference};
use crate::request::BuildRequest;

use super::budget::Budget;
use super::graph::{Graph, Node};
use super::variables::Variables;
use super::{Base, Bases, StageBase, arguments};

/// Arguments that mean something to a builder without being declared.
///
/// Source: <https://docs.docker.com/reference/dockerfile/#buildkit-built-in-build-args>.
const BUILDER_ARGUMENTS: [&str; 3] = ["BUILDKIT_", "BUILDX_", "SOURCE_DATE_EPOCH"];

/// The words of secrets' names, between underscores.
const SECRET_WORDS: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

/// Words that make a name harmless.
const HARMLESS_WORDS: [&str; 3] = ["public", "file", "version"];

/// Collects findings; what is planned is only read meanwhile.
#[derive(Debug, Default)]
pub(super) struct Findings(RefCell<Vec<Warning>>);

/// How many findings say what was probably meant: that is looked for among all variables, and whoever has so many has not
/// misspelt them.
const MOST_HINTS: usize = 100;

impl Findings {
    /// Tells whether there are so few that each may be explained.
    pub(super) fn are_few(&self) -> bool {
        self.0.borrow().len() < MOST_HINTS
    }

    pub(super) fn add(&self, warning: Warning) {
        self.0.borrow_mut().push(warning);
    }

    pub(super) fn into_vec(self) -> Vec<Warning> {
        self.0.into_inner()
    }
}

/// Judges what is known of stages and images before any instruction is planned.
pub(super) fn nodes(
    dockerfile: &Dockerfile,
    graph: &Graph<'_>,
    (request, bases): (&BuildRequest, &Bases),
    findings: &Findings,
) {
    let base = |node: &Node<'_>| if let StageBase::Image(key) = &node.base { bases.get(key) } else { None };
    for node in &graph.nodes {
        if let Some(base) = base(node) {
            base_platform(node, base, findings);
        }
    }
    if bases.values().all(Base::is_known) {
        let triggers = graph.nodes.iter().flat_map(|node| &node.triggers);
        build_arguments(dockerfile, triggers, request, findings);
    }
}

/// Judges all FROM lines, also of stages that are not built.
pub(super) fn from_lines(dockerfile: &Dockerfile, globals: &Variables, request: &BuildRequest, findings: &Findings) {
    let defaults = BuildRequest { build_args: std::collections::BTreeMap::new(), ..request.clone() };
    let defaults = arguments::global_arguments(dockerfile, &defaults, &Budget::default()).ok();
    let mut declared: BTreeSet<&str> = arguments::PLATFORM_ARGUMENTS.into();
    for instruction in &dockerfile.arguments {
        declared.extend(instruction.value.arguments.iter().map(|argument| argument.name.as_str()));
    }
    let escape = dockerfile.directives.escape;
    for stage in &dockerfile.stages {
        let base = stage.from.base.as_str();
        if let Some(default) = defaults.as_ref().and_then(|defaults| expanded(defaults, escape, base))
            && default.text.parse::<Reference>().is_err()
        {
            let message = format!("Default value for ARG {base} results in empty or invalid base image name");
            findings.add(Warning::new(Rule::InvalidDefaultArgInFrom, stage.span, message).about(base));
        }
        if let Some(base) = expanded(globals, escape, base) {
            undeclared(stage, &base, &declared, findings);
        }
        if let Some(platform) = &stage.from.platform
            && let Some(platform) = expanded(globals, escape, platform.as_str())
        {
            undeclared(stage, &platform, &declared, findings);
            self::platform(stage, &platform, globals, findings);
        }
    }
}

fn expanded(variables: &Variables, escape: char, word: &str) -> Option<Expanded> {
    variables.expanded(escape, |expander| expander.word(word)).ok()
}

fn undeclared(stage: &Stage, word: &Expanded, declared: &BTreeSet<&str>, findings: &Findings) {
    for name in word.unmatched.iter().filter(|name| !declared.contains(name.as_str())) {
        let hint = suggest::nearest(name, declared.iter().copied());
        let hint = hint.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
        let message = format!("FROM argument '{name}' is not declared{hint}");
        let subject = as_written(&stage.original, name);
        findings.add(Warning::new(Rule::UndefinedArgInFrom, stage.span, message).about(subject));
    }
}

/// Judges `--platform`.
fn platform(stage: &Stage, word: &Expanded, globals: &Variables, findings: &Findings) {
    let written = stage.from.platform.as_ref().map(|word| word.as_str()).unwrap_or_default();
    let only_target = word.unmatched.is_empty() && word.matched.len() == 1 && word.matched.contains("TARGETPLATFORM");
    if only_target && globals.get("TARGETPLATFORM") == Some(&word.text) {
        let message =
            format!("Setting platform to predefined {written} in FROM is redundant as this is the default behavior");
        findings.add(Warning::new(Rule::RedundantTargetPlatform, stage.span, message).about(written));
    }
    let is_constant = word.matched.is_empty() && word.unmatched.is_empty();
    if let (true, Ok(platform)) = (is_constant, word.text.parse::<Platform>()) {
        let name = stage.name.as_deref().unwrap_or_default();
        if !name.contains(&platform.os) && !name.contains(&platform.architecture) {
            let message = format!("FROM --platform flag should not use constant value {:?}", word.text);
            findings.add(Warning::new(Rule::FromPlatformFlagConstDisallowed, stage.span, message).about(written));
        }
    }
}

/// Judges whether a base is for the platform that was asked for.
fn base_platform(node: &Node<'_>, base: &Base, findings: &Findings) {
    let (found, wanted) = (&base.image.config.platform, &node.platform);
    let name = node.stage.from.base.as_str();
    if base.is_known() && (found.os != wanted.os || found.architecture != wanted.architecture) {
        let message =
            format!("Base image {name} was pulled with platform \"{found}\", expected \"{wanted}\" for current build");
        findings.add(Warning::new(Rule::InvalidBaseImagePlatform, node.stage.span, message).about(name));
    }
}

/// Judges a word of an instruction that was expanded: `known` are the variables, `declared` the ARGs without a value.
pub(super) fn undefined(
    word: &str,
    unmatched: &BTreeSet<String>,
    known: &Variables,
    declared: impl Fn(&str) -> bool,
    may_hint: bool,
    span: Span,
) -> Vec<Warning> {
    let missing = unmatched.iter().filter(|name| !declared(name) && !name.starts_with("BUILDKIT_SBOM_SCAN_"));
    let warning = |name: &String| {
        let near = may_hint.then(|| suggest::nearest(name, known.all().iter().map(|(name, _)| name.as_str())));
        let hint = near.flatten();
        let hint = hint.map(|near| format!(" (did you mean ${near}?)")).unwrap_or_default();
        let message = format!("Usage of undefined variable '${name}'{hint}");
        Warning::new(Rule::UndefinedVar, span, message).about(as_written(word, name))
    };
    missing.map(warning).collect()
}

/// Returns a variable's name with the dollar sign, and the brace where a word has one.
fn as_written(word: &str, name: &str) -> String {
    let braced = format!("${{{name}");
    if word.contains(&braced) { braced } else { format!("${name}") }
}

/// Tells whether a variable of this name probably holds a secret, as BuildKit guesses.
pub fn looks_secret(name: &str) -> bool {
    let has = |words: &[&str]| name.split('_').any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)));
    has(&SECRET_WORDS) && !has(&HARMLESS_WORDS)
}

/// Judges the name of an ARG or ENV.
pub(super) fn secret(keyword: &str, name: &str, span: Span, findings: &Findings) {
    if looks_secret(name) {
        let message = format!("Do not use ARG or ENV instructions for sensitive data ({keyword} {name:?})");
        findings.add(Warning::new(Rule::SecretsUsedInArgOrEnv, span, message).about(name));
    }
}

/// Judges a word of EXPOSE.
pub(super) fn port(word: &str, span: Span, findings: &Findings) {
    let (container, mapped) = match word.rsplit_once(':') {
        Some((host, container)) => (container, !host.is_empty()),
        None => (word, false),
    };
    let protocol = container.split_once('/').map_or("", |(_, protocol)| protocol);
    if protocol != protocol.to_lowercase() {
        let message = format!("Defined protocol '{word}' in EXPOSE instruction should be lowercase");
        findings.add(Warning::new(Rule::ExposeProtoCasing, span, message).about(word));
    }
    if mapped {
        let message =
            format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'");
        findings.add(Warning::new(Rule::ExposeInvalidFormat, span, message).about(word));
    }
}

/// Judges the build arguments: one that nothing declares was probably misspelt.
fn build_arguments<'a>(
    dockerfile: &'a Dockerfile,
    triggers: impl Iterator<Item = &'a Located>,
    request: &BuildRequest,
    findings: &Findings,
) {
    let mut declared: BTreeSet<&str> = arguments::PLATFORM_ARGUMENTS.into();
    let located = dockerfile.stages.iter().flat_map(|stage| &stage.instructions).chain(triggers);
    let in_stages: Vec<&Argument> = located.filter_map(declares).flatten().collect();
    declared.extend(dockerfile.arguments.iter().flat_map(|arg| &arg.value.arguments).map(|arg| arg.name.as_str()));
    declared.extend(in_stages.iter().map(|argument| argument.name.as_str()));
    for name in request.build_args.keys().filter(|name| !declared.contains(name.as_str())) {
        let for_builder = BUILDER_ARGUMENTS.iter().any(|known| name.starts_with(known)) || name == CHECK_ARGUMENT;
        if !for_builder && !arguments::is_proxy(name) {
            let hint = suggest::nearest(name, declared.iter().copied());
            let hint = hint.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            let message = format!("--build-arg {name} is declared by no ARG and does nothing{hint}");
            findings.add(Warning::new(Rule::UnusedBuildArg, Span::default(), message));
        }
    }
}

/// Returns the arguments that an instruction, or the trigger in it, declares.
fn declares(located: &Located) -> Option<&[Argument]> {
    let instruction = match &located.instruction {
        Instruction::Onbuild(onbuild) => &*onbuild.instruction,
        other => other,
    };
    if let Instruction::Arg(arg) = instruction { Some(&arg.arguments) } else { None }
}
