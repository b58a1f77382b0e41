//! COPY and ADD, decided: what is taken from where, where it goes, whose it is.

use crate::dockerfile::expand::{ExpandError, Expander};
use crate::dockerfile::{Add, Copy, Heredoc, Source, Span, Word};

use super::add::{self, Asked};
use super::draft::{Draft, absolute, clean};
use super::{Action, Chmod, CopyFrom, CopySource, CopyStep, Error, ErrorReason, Unpack};

/// Plans a COPY; also returns its line of history.
pub(super) fn plan_copy(draft: &Draft<'_>, copy: &Copy, span: Span) -> Result<(Action, Option<String>), Error> {
    let from = match &copy.from {
        None => CopyFrom::Context,
        Some(word) => match draft.node.sources.get(word.as_str()) {
            Some(source) => source.clone(),
            None => return Err(Error::at(span, ErrorReason::UnknownStageNumber(word.as_str().to_owned()))),
        },
    };
    let parts = Parts {
        keyword: "COPY",
        parents: copy.parents,
        chown: copy.chown.as_ref(),
        chmod: copy.chmod.as_ref(),
        sources: &copy.sources,
        asked: None,
    };
    let (step, created_by) = parts.plan(draft, from, &copy.destination, span)?;
    let (link, parents) = (copy.link, copy.parents);
    Ok((Action::Copy(CopyStep { link, parents, excludes: texts(&copy.excludes), ..step }), Some(created_by)))
}

/// Plans an ADD; also returns its line of history.
pub(super) fn plan_add(draft: &Draft<'_>, add: &Add, span: Span) -> Result<(Action, Option<String>), Error> {
    let asked = Asked::new(draft, add, span)?;
    let (chown, chmod) = (add.chown.as_ref(), add.chmod.as_ref());
    let parts = Parts { keyword: "ADD", parents: false, chown, chmod, sources: &add.sources, asked: Some(&asked) };
    let (step, created_by) = parts.plan(draft, CopyFrom::Context, &add.destination, span)?;
    asked.check(&step.sources, span)?;
    if draft.scope.request.offline && step.sources.iter().any(CopySource::is_remote) {
        return Err(Error::at(span, ErrorReason::Offline("ADD")));
    }
    let unpack = match add.unpack {
        None => Unpack::Local,
        Some(true) => Unpack::Everything,
        Some(false) => Unpack::Nothing,
    };
    let (link, excludes) = (add.link, texts(&add.excludes));
    Ok((Action::Copy(CopyStep { unpack, link, excludes, ..step }), Some(created_by)))
}

fn texts(words: &[Word]) -> Vec<String> {
    words.iter().map(|word| word.as_str().to_owned()).collect()
}

/// What COPY and ADD have in common.
struct Parts<'a> {
    keyword: &'static str,
    parents: bool,
    chown: Option<&'a Word>,
    chmod: Option<&'a Word>,
    sources: &'a [Source],
    /// What is asked of sources that are elsewhere; none for COPY, which has no such sources.
    asked: Option<&'a Asked>,
}

impl Parts<'_> {
    fn plan(
        &self,
        draft: &Draft<'_>,
        from: CopyFrom,
        destination: &Word,
        span: Span,
    ) -> Result<(CopyStep, String), Error> {
        let mut history = vec![self.keyword.to_owned()];
        history.extend(self.parents.then(|| "--parents".to_owned()));
        let chown = self.chown.map(|word| draft.word(word, span)).transpose()?.filter(|owner| !owner.is_empty());
        history.extend(chown.iter().map(|owner| format!("--chown={owner}")));
        let mode = self.chmod.map(|word| draft.word(word, span)).transpose()?.filter(|mode| !mode.is_empty());
        history.extend(mode.iter().map(|mode| format!("--chmod={mode}")));
        let chmod =
            mode.map(|mode| Chmod::parse(&mode).map_err(|message| Error::invalid(span, message))).transpose()?;
        let mut sources = Vec::new();
        for source in self.sources {
            match source {
                Source::Path(word) => {
                    let path = draft.word(word, span)?;
                    history.push(add::shown(&path));
                    let elsewhere = self.asked.unwrap_or(&Asked::default()).source(&path, span)?;
                    if let (Some(_), None) = (&elsewhere, self.asked) {
                        let message = format!("COPY cannot take `{}`; use ADD for it", add::shown(&path));
                        return Err(Error::invalid(span, message));
                    }
                    sources.push(elsewhere.unwrap_or(CopySource::Path(path)));
                }
                Source::Heredoc(heredoc) => {
                    history.push(format!("<<{}", heredoc.name));
                    sources.push(inline(draft, heredoc, span)?);
                }
            }
        }
        let given = draft.word(destination, span)?;
        history.push(given.clone());
        let destination = destination_path(&draft.config.working_dir, &given);
        let (link, parents, excludes, unpack) = (false, false, Vec::new(), Unpack::Nothing);
        let step = CopyStep { from, sources, destination, chown, chmod, link, parents, excludes, unpack };
        Ok((step, format!("{} # buildkit", history.join(" "))))
    }
}

fn inline(draft: &Draft<'_>, heredoc: &Heredoc, span: Span) -> Result<CopySource, Error> {
    let text = heredoc.text();
    let content = if heredoc.expand {
        let lookup = |name: &str| draft.variable(name);
        let expanded = Expander::for_heredoc(&lookup).word(&text);
        let failure = |error: ExpandError| {
            let word = format!("<<{}", heredoc.name);
            Error::at(span, ErrorReason::Expansion { word, reason: error.reason.to_string() })
        };
        let expanded = expanded.map_err(failure)?;
        draft.judge(&text, &expanded.unmatched, span);
        draft.scope.budget.spend(expanded.work, span)?;
        expanded.text
    } else {
        text.into_owned()
    };
    Ok(CopySource::Inline { name: heredoc.name.clone(), content })
}

/// Makes a destination absolute and clean, keeping what tells that it is a directory: a trailing slash, `.`, or nothing.
fn destination_path(directory: &str, given: &str) -> String {
    let is_directory = given.is_empty() || given.ends_with('/') || given == "." || given.ends_with("/.");
    let path = clean(&absolute(directory, given));
    if is_directory && path != "/" { format!("{path}/") } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_keeps_what_makes_it_a_directory() {
        for (directory, given, path) in [
            ("/app", "x", "/app/x"),
            ("/app", "x/", "/app/x/"),
            ("/app", ".", "/app/"),
            ("/app", "./", "/app/"),
            ("/app", "../x/.", "/x/"),
            ("", "x", "/x"),
            ("/", "/", "/"),
            ("/app", "/a//b/../c", "/a/c"),
        ] {
            assert_eq!(destination_path(directory, given), path, "{directory} {given}");
        }
    }
}
