//! What the logs of GitHub, GitLab and Azure Pipelines fold and mark, and what RUN must not say there in our name.
//!
//! A RUN's output is folded: it is what is long. Groups cannot stand in each other, so that there is none while several
//! steps are at work.
//!
//! Sources: <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>,
//! <https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections>,
//! <https://learn.microsoft.com/azure/devops/pipelines/scripts/logging-commands>.

use std::path::{Component, Path, PathBuf};

use super::line::Line;
use super::settings::Dialect;
use super::terminal::{self, Piece};
use crate::cli::exit::Failure;
use crate::progress::StepId;

/// What the file is called that warnings are about, where it is none of this machine.
const DOCKERFILE: &str = "Dockerfile";

/// What is folded now.
#[derive(Debug, Default)]
pub(super) struct Folded {
    open: Option<StepId>,
    number: usize,
}

impl Folded {
    /// Returns what begins to fold before the line that is a RUN's head; nothing where it cannot be folded.
    pub(super) fn begin(&mut self, dialect: Dialect, step: &StepId, is_alone: bool, seconds: i64) -> Option<String> {
        if !is_alone || self.open.is_some() {
            return None;
        }
        self.number += 1;
        let begin = match dialect {
            Dialect::Plain => return None,
            Dialect::Github => "::group::".to_owned(),
            Dialect::Azure => "##[group]".to_owned(),
            Dialect::Gitlab => format!("\x1b[0Ksection_start:{seconds}:yadokari_{}\r\x1b[0K", self.number),
        };
        self.open = Some(step.clone());
        Some(begin)
    }

    /// Returns what ends the folding of a step, or of any if another one begins.
    pub(super) fn end(&mut self, dialect: Dialect, step: Option<&StepId>, seconds: i64) -> Option<String> {
        let open = self.open.take_if(|open| step.is_none_or(|step| step == open));
        open.map(|_| match dialect {
            Dialect::Plain => String::new(),
            Dialect::Github => "::endgroup::\n".to_owned(),
            Dialect::Azure => "##[endgroup]\n".to_owned(),
            Dialect::Gitlab => format!("\x1b[0Ksection_end:{seconds}:yadokari_{}\r\x1b[0K\n", self.number),
        })
    }
}

/// Returns how GitHub knows a file: by its path in the checkout.
pub(super) fn in_checkout(path: &Path, workspace: Option<&Path>) -> String {
    let below = workspace.and_then(|workspace| path.strip_prefix(workspace).ok()).unwrap_or(path);
    let parts: PathBuf = below.components().filter(|part| *part != Component::CurDir).collect();
    parts.display().to_string()
}

/// Returns the mark that a warning gets, beside its line; `file` is the Dockerfile, where it is one of this machine.
pub(super) fn warning(dialect: Dialect, line: &Line, file: Option<&str>) -> Option<String> {
    let number = line.facts.get("line")?.as_u64()?;
    (dialect == Dialect::Github).then(|| {
        let title = line.facts.get("rule").and_then(|rule| rule.as_str()).unwrap_or("warning");
        annotation("warning", file.unwrap_or(DOCKERFILE), number, title, &line.message)
    })
}

/// Returns the mark that a failure gets, beside its lines; `file` is the Dockerfile, where it is one of this machine.
pub(super) fn failure(dialect: Dialect, failure: &Failure, file: Option<&str>) -> Option<String> {
    if dialect != Dialect::Github {
        return None;
    }
    let mut text = failure.message.clone();
    let last = failure.last_output.iter().map(|last| ("last output", last.as_str()));
    for (word, more) in last.chain(failure.explanations()) {
        text += &format!("\n{word}: {more}");
    }
    Some(match &failure.place {
        Some(place) => annotation("error", file.unwrap_or(&place.file), place.line as u64, failure.kind.name(), &text),
        None => format!("::error title=yadokari: {}::{}\n", property(failure.kind.name()), data(&text)),
    })
}

fn annotation(level: &str, file: &str, line: u64, title: &str, message: &str) -> String {
    format!("::{level} file={},line={line},title=yadokari: {}::{}\n", property(file), property(title), data(message))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Writes what RUN wrote so that whoever reads the log obeys nothing of it. Colours stay; what moves the cursor, or sets a
/// title, goes, as it would write over lines of ours. In the logs of GitHub and Azure, commands are broken apart.
pub(super) fn tamed(text: &str, dialect: Dialect) -> String {
    let (mut tame, mut has_colour) = (String::with_capacity(text.len()), false);
    for piece in terminal::pieces(text) {
        match piece {
            Piece::Text(text) | Piece::Control(text @ "\t") => tame.push_str(text),
            Piece::Control(sequence) if sequence.starts_with("\x1b[") && sequence.ends_with('m') => {
                tame.push_str(sequence);
                has_colour = true;
            }
            Piece::Control(_) => {}
        }
    }
    if has_colour {
        tame.push_str("\x1b[0m");
    }
    match dialect {
        Dialect::Github => {
            let start = tame.len() - tame.trim_start().len();
            if tame[start..].starts_with("::") {
                tame.insert(start + 1, ' ');
            }
            tame.replace("##[", "# #[")
        }
        Dialect::Azure => tame.replace("##[", "# #[").replace("##vso[", "# #vso["),
        Dialect::Plain | Dialect::Gitlab => tame,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_run_writes_is_obeyed() {
        for (text, plain, github) in [
            ("a\tb", "a\tb", "a\tb"),
            ("\x1b[31mred", "\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
            ("up\x1b[1A\x1b[2Kover", "upover", "upover"),
            ("\x1b]0;title\x07text", "text", "text"),
            ("\x1b]8;;http://h\x1b\\link", "link", "link"),
            ("::error::forged", "::error::forged", ": :error::forged"),
            ("  ::add-mask::x", "  ::add-mask::x", "  : :add-mask::x"),
            ("x ##[group]y", "x ##[group]y", "x # #[group]y"),
            ("\x1b[0m::stop", "\x1b[0m::stop\x1b[0m", "\x1b[0m::stop\x1b[0m"),
            ("\x1b[2K::error::x", "::error::x", ": :error::x"),
            ("cut\x1b[", "cut", "cut"),
            ("section_start:1:x\r\x1b[0K", "section_start:1:x", "section_start:1:x"),
        ] {
            assert_eq!(tamed(text, Dialect::Plain), plain, "{text:?}");
            assert_eq!(tamed(text, Dialect::Github), github, "{text:?}");
        }
        let forged = "a ##vso[task.complete result=Succeeded;]done ##[error]x";
        assert_eq!(tamed(forged, Dialect::Azure), "a # #vso[task.complete result=Succeeded;]done # #[error]x");
    }

    #[test]
    fn an_annotation_is_one_line_whatever_is_in_it() {
        let text = annotation("error", "a:b,c", 3, "run", "50%\nhint: x");
        assert_eq!(text, "::error file=a%3Ab%2Cc,line=3,title=yadokari: run::50%25%0Ahint: x\n");
    }
}
