//! Findings: what works but should not stay, under BuildKit's names.
//!
//! Knows all rules, and those findings that the text alone shows; further ones are the plan's and the build's. All of
//! them pass [`Linted::of`], which is the only place where it is decided what is told.
//!
//! *Invariant: `# check`, above the file or above one instruction, holds for every finding, whoever found it.*

mod frontend;
mod options;
mod place;
pub(super) mod rule;
mod stages;

pub use frontend::SYNTAX_ARGUMENT;
pub(crate) use frontend::frontend;
pub use options::Options;
pub use place::Place;
pub(super) use place::position;
pub use rule::{Origin, Reach, Rule};
pub(super) use stages::{casing, definitions, stages};

use std::collections::HashSet;

use super::error::Warning;
use super::instruction::Span;
use super::{Dockerfile, ParseError};

/// The build argument that stands in for the `# check` of the file.
pub const CHECK_ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// What is told of a Dockerfile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Linted {
    /// The findings, in the order of the file; those without a place come last.
    pub warnings: Vec<Warning>,
    /// BuildKit's rules among them, each once, when `error=true` makes them fail the build.
    pub violated: Vec<Rule>,
}

impl Dockerfile {
    /// Returns which rules hold: as the build argument says, else as the `# check` of the file.
    ///
    /// # Errors
    /// A [`ParseError`] when neither can be read.
    pub fn check_options(&self, argument: Option<&str>) -> Result<Options, ParseError> {
        let directive = self.directives.check.as_ref();
        let place = directive.map(|directive| directive.span).unwrap_or_default();
        let text = argument.or(directive.map(|directive| directive.value.as_str())).unwrap_or_default();
        Options::parse(text).map_err(|message| {
            let of = if argument.is_some() { format!(" in {CHECK_ARGUMENT}") } else { String::new() };
            let hint = Some("write skip=RULE,RULE or skip=all, and error=true, with `;` between them".to_owned());
            let (line, column) = (place.first_line.max(1), 1);
            ParseError { message: format!("{message}{of}"), span: place, line, column, hint }
        })
    }
}

impl Linted {
    /// Drops what is not to be told, and brings the rest into order.
    ///
    /// `built` are the places of the FROMs of the stages that are built; none when that is not known.
    pub fn of(dockerfile: &Dockerfile, found: &[Warning], options: &Options, built: Option<&[Span]>) -> Self {
        let built: Option<HashSet<usize>> = built.map(|built| built.iter().map(|span| span.start).collect());
        let counts = |warning: &&Warning| {
            let is_built = match (warning.rule.reach(), &built) {
                (Reach::File, _) | (Reach::Step, None) => true,
                (Reach::Step, Some(built)) => {
                    stage_of(dockerfile, warning.span).is_none_or(|span| built.contains(&span.start))
                }
            };
            is_built && options_at(dockerfile, warning.span, options).allows(warning.rule)
        };
        let mut warnings: Vec<Warning> = dockerfile.warnings.iter().chain(found).filter(counts).cloned().collect();
        warnings.sort_by_key(|warning| (warning.span == Span::default(), warning.span.start));
        let mut seen = HashSet::with_capacity(warnings.len());
        let told: Vec<Warning> = warnings.into_iter().filter(|warning| seen.insert(warning.clone())).collect();
        let mut violated: Vec<Rule> = Vec::new();
        if options.error {
            violated.extend(told.iter().map(|warning| warning.rule).filter(|rule| rule.origin() == Origin::Buildkit));
            violated.sort_unstable();
            violated.dedup();
        }
        Self { warnings: told, violated }
    }
}

/// Returns the place of the FROM of the stage that a place is in.
fn stage_of(dockerfile: &Dockerfile, span: Span) -> Option<Span> {
    let behind = dockerfile.stages.partition_point(|stage| stage.span.start <= span.start);
    behind.checked_sub(1).map(|last| dockerfile.stages[last].span)
}

/// Adds what `# check` comments right above an instruction say.
fn options_at(dockerfile: &Dockerfile, span: Span, options: &Options) -> Options {
    let comments = dockerfile.comments.get(&span.start).map(Vec::as_slice).unwrap_or_default();
    let own = comments.iter().find_map(|comment| {
        let (name, value) = comment.split_once('=')?;
        let value = value.split(' ').find(|word| !word.is_empty())?;
        name.trim().eq_ignore_ascii_case("check").then(|| Options::parse(value))
    });
    match own {
        Some(Ok(own)) => options.with(&own),
        Some(Err(_)) | None => options.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, argument: Option<&str>, built: Option<&[usize]>) -> (Vec<String>, usize) {
        let dockerfile = crate::dockerfile::parse(text.as_bytes()).expect(text);
        let options = dockerfile.check_options(argument).expect(text);
        let built: Option<Vec<Span>> =
            built.map(|built| built.iter().map(|index| dockerfile.stages[*index].span).collect());
        let linted = Linted::of(&dockerfile, &[], &options, built.as_deref());
        let line = |warning: &Warning| format!("{} {}", warning.span.first_line, warning.rule.name());
        (linted.warnings.iter().map(line).collect(), linted.violated.len())
    }

    #[test]
    fn check_comments_decide_what_is_told() {
        let rows: &[(&str, Option<&str>, &[&str], usize)] = &[
            ("FROM a as b\nENV c d\n", None, &["1 FromAsCasing", "2 LegacyKeyValueFormat"], 0),
            ("# check=skip=FromAsCasing\nFROM a as b\nENV c d\n", None, &["3 LegacyKeyValueFormat"], 0),
            ("# check=skip=all\nFROM a as b\nENV c d\n", None, &[], 0),
            (
                "# check=skip=FromAsCasing;error=true\nFROM a as b\nENV c d\nENV e f\n",
                None,
                &["3 LegacyKeyValueFormat", "4 LegacyKeyValueFormat"],
                1,
            ),
            ("# check=skip=all;error=true\nFROM a as b\n", None, &[], 0),
            ("# check=error=true\nFROM a as b\n", Some("skip=StageNameCasing"), &["2 FromAsCasing"], 0),
            ("FROM a as b\n", Some("error=true"), &["1 FromAsCasing"], 1),
            // One instruction alone.
            (
                "FROM a\n# check=skip=LegacyKeyValueFormat since it is old\nENV c d\nENV e f\n",
                None,
                &["4 LegacyKeyValueFormat"],
                0,
            ),
            ("FROM a\n# why\n# check=skip=all\n# more\nENV c d\n", None, &[], 0),
            ("FROM a\n# check=skip=all\n\nENV c d\n", None, &[], 0),
            ("FROM a\n# check=skip=all\n#\nENV c d\n", None, &["4 LegacyKeyValueFormat"], 0),
            ("FROM a\n# check=nonsense\nENV c d\n", None, &["3 LegacyKeyValueFormat"], 0),
            // Ours never fail a build.
            ("# check=error=true\nFROM a\nRUN ['b']\n", None, &["3 InvalidJsonForm"], 0),
        ];
        for (text, argument, expected, violated) in rows {
            let (lines, count) = told(text, *argument, None);
            assert_eq!(lines, *expected, "{text:?}");
            assert_eq!(count, *violated, "{text:?}");
        }
    }

    #[test]
    fn instructions_that_are_not_carried_out_are_not_judged_by_what_they_do() {
        let text = "FROM a as b\nENV c d\nFROM e as f\nENV g h\n";
        let all = ["1 FromAsCasing", "2 LegacyKeyValueFormat", "3 FromAsCasing", "4 LegacyKeyValueFormat"];
        assert_eq!(told(text, None, None).0, all);
        assert_eq!(told(text, None, Some(&[1])).0, [all[0], all[2], all[3]]);
    }

    #[test]
    fn descriptions_begin_with_what_they_describe() {
        let text = "# check=experimental=all\n# tag the version\nARG tag\n# b is built\nFROM a AS b\n# x\nARG c\n\
                    # x\nARG d e\n# x\n#\nARG f\n# x\nRUN g\n";
        let expected = ["7 InvalidDefinitionDescription", "9 InvalidDefinitionDescription"];
        assert_eq!(told(text, None, None).0, expected);
        assert_eq!(told(&text.replace("experimental=all", "skip=X"), None, None).0, [""; 0]);
    }

    #[test]
    fn options_that_cannot_be_read_have_a_place() {
        let dockerfile = crate::dockerfile::parse(b"# syntax=x\n# check=skip\nFROM a\n").expect("parses");
        let error = dockerfile.check_options(None).expect_err("no option");
        assert_eq!((error.line, error.message.as_str()), (2, "invalid check option \"skip\""));
        let error = dockerfile.check_options(Some("x=y")).expect_err("no option");
        assert_eq!(error.message, "invalid check option \"x\" in BUILDKIT_DOCKERFILE_CHECK");
    }
}
