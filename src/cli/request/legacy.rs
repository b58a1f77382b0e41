//! Flags and variables of kaniko's that do nothing here: said once, since they cannot be told from a mistake.

use super::{UsageError, Warning};
use crate::cli::args::{LegacyArgs, boolean};
use crate::cli::env::Environment;

const RULE: &str = "DoesNothing";

/// Variables that do nothing, each with the reason.
const VARIABLES: &[(&str, &str)] = &[
    ("KANIKO_CLEANUP", "the container's own files are always put back"),
    ("KANIKO_PRE_CLEANUP", "the container's own files are never part of a build"),
    ("KANIKO_PRESERVE_CONTEXT", "the container's own files are always put back"),
    ("KANIKO_IGNORE_ASSERTIONS", "there are no assertions to leave out"),
    ("KANIKO_TELEMETRY_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT says where spans go"),
    ("KANIKO_TELEMETRY_OMIT_DOCKERFILE", "spans have the instructions, without logins"),
    ("SNAPSHOT_TIMEOUT_DURATION", "--timeout limits the whole build"),
    ("STACKLOG_PATH", "there is no stack log"),
];

/// The prefix of the fork's switches, each of which has one right position.
const SWITCH: &str = "FF_KANIKO_";

/// Lists what was given and does nothing.
pub(super) fn warnings(args: &LegacyArgs, environment: &Environment) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = args.given().into_iter().map(does_nothing).collect();
    warnings.extend(of_environment(environment));
    warnings
}

/// Lists the variables that are set and do nothing.
pub(super) fn of_environment(environment: &Environment) -> Vec<Warning> {
    let variables = VARIABLES.iter().copied().filter(|(name, _)| environment.is_set(name));
    let mut warnings: Vec<Warning> = variables.map(does_nothing).collect();
    let switches: Vec<&str> = environment.names().filter(|name| name.starts_with(SWITCH)).collect();
    if let Some((first, others)) = switches.split_first() {
        let others = match others.len() {
            0 => " does".to_owned(),
            count => format!(" and {count} more {SWITCH}* variables do"),
        };
        let message = format!("{first}{others} nothing: the right behaviour is the only one");
        warnings.push(Warning { rule: RULE, message });
    }
    warnings
}

pub(super) fn does_nothing((name, reason): (&str, &str)) -> Warning {
    Warning { rule: RULE, message: format!("{name} does nothing: {reason}") }
}

/// Reads a variable that is a boolean for kaniko; one that is empty is not set.
pub(super) fn switch(name: &'static str, environment: &Environment) -> Result<Option<bool>, UsageError> {
    let Some(value) = environment.value(name)? else { return Ok(None) };
    let wrong = |reason| UsageError::Variable { name, value: value.to_owned(), reason };
    boolean(value).map(Some).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::args::{Invocation, parse};
    use crate::cli::env::Moment;

    fn noted(words: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
        let words = ["yadokari"].iter().chain(words).map(OsString::from);
        let Ok(Invocation::Build(args)) = parse(words) else { panic!("no build") };
        let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let moment = Moment { now: 0, token: "t".to_owned() };
        let environment = Environment::new(variables, "/work".into(), moment, false);
        warnings(&args.legacy, &environment).into_iter().map(|warning| warning.message).collect()
    }

    #[test]
    fn each_is_named_once() {
        let flags = [
            "--compressed-caching=false",
            "--force-build-metadata",
            "--image-fs-extract-retry=3",
            "--pre-cleanup",
            "--preserve-context",
            "--skip-unused-stages",
            "--use-new-run",
        ];
        for flag in flags {
            let notes = noted(&[flag], &[]);
            let name = flag.split('=').next().unwrap_or_default();
            assert!(notes.len() == 1 && notes[0].starts_with(&format!("{name} does nothing: ")), "{notes:?}");
        }
        for (name, _) in VARIABLES {
            assert_eq!(noted(&[], &[(name, "true")]).len(), 1, "{name}");
        }
        assert_eq!(noted(&["--use-new-run=false"], &[("KANIKO_CLEANUP", "")]), [""; 0]);
    }

    #[test]
    fn switches_are_one_note() {
        let one = [("FF_KANIKO_COPY_AS_ROOT", "1")];
        let two = [("FF_KANIKO_COPY_AS_ROOT", "1"), ("FF_KANIKO_NONSENSE", "x")];
        assert_eq!(noted(&[], &one), ["FF_KANIKO_COPY_AS_ROOT does nothing: the right behaviour is the only one"]);
        let note =
            "FF_KANIKO_COPY_AS_ROOT and 1 more FF_KANIKO_* variables do nothing: the right behaviour is the only one";
        assert_eq!(noted(&[], &two), [note]);
    }
}
