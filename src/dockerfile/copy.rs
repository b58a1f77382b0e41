//! COPY and ADD: sources, destination, flags.
//!
//! *Invariant*: a heredoc that the line begins is a source of it, or the line is refused.

use super::error::Fault;
use super::expand::Expander;
use super::flags::{self, Flags, Kind};
use super::heredoc;
use super::input::{Input, list};
use super::instruction::{Add, Copy, Heredoc, Source, Word};
use super::words::Token;

const COPY_FLAGS: [(&str, Kind); 6] = [
    ("chown", Kind::Text),
    ("from", Kind::Text),
    ("chmod", Kind::Text),
    ("link", Kind::Bool),
    ("exclude", Kind::List),
    ("parents", Kind::Bool),
];

const ADD_FLAGS: [(&str, Kind); 7] = [
    ("chown", Kind::Text),
    ("chmod", Kind::Text),
    ("link", Kind::Bool),
    ("keep-git-dir", Kind::Bool),
    ("checksum", Kind::Text),
    ("unpack", Kind::Bool),
    ("exclude", Kind::List),
];

/// Reads COPY.
pub(super) fn copy(input: &Input<'_>) -> Result<Copy, Fault> {
    let (words, is_json) = sources_and_destination(input, "COPY")?;
    let flags = flags::parse(&input.command.flags, &COPY_FLAGS)?;
    if let Some(from) = flags.text("from") {
        let unset = |_: &str| None;
        let expanded = Expander::new(input.escape, &unset).word(&from.text).map(|expanded| expanded.text);
        if expanded.as_ref() != Ok(&from.text) {
            let message = "variable expansion is not supported for --from, define a new stage with FROM using ARG from \
                           global scope as a workaround";
            return Err(Fault::new(message).at(from.offset));
        }
    }
    let (sources, destination) = split_sources(words, is_json, input, "COPY")?;
    Ok(Copy {
        from: flags.word("from"),
        sources,
        destination,
        chown: flags.word("chown"),
        chmod: flags.word("chmod"),
        link: flags.switch("link").unwrap_or(false),
        parents: flags.switch("parents").unwrap_or(false),
        excludes: excludes(&flags),
    })
}

/// Reads ADD.
pub(super) fn add(input: &Input<'_>) -> Result<Add, Fault> {
    let (words, is_json) = sources_and_destination(input, "ADD")?;
    let flags = flags::parse(&input.command.flags, &ADD_FLAGS)?;
    let (sources, destination) = split_sources(words, is_json, input, "ADD")?;
    Ok(Add {
        sources,
        destination,
        chown: flags.word("chown"),
        chmod: flags.word("chmod"),
        link: flags.switch("link").unwrap_or(false),
        excludes: excludes(&flags),
        checksum: flags.word("checksum"),
        keep_git_directory: flags.switch("keep-git-dir"),
        unpack: flags.switch("unpack"),
    })
}

fn excludes(flags: &Flags) -> Vec<Word> {
    flags.list("exclude").map(|token| Word::new(token.text.as_str())).collect()
}

fn sources_and_destination(input: &Input<'_>, keyword: &str) -> Result<(Vec<Token>, bool), Fault> {
    let (words, is_json) = list(input)?;
    match words.len() {
        0 => Err(Fault::new(format!("{keyword} requires at least two arguments, but none was provided"))),
        1 => {
            let message =
                "requires at least two arguments, but only one was provided. Destination could not be determined";
            Err(Fault::new(format!("{keyword} {message}")).at(input.command.offset))
        }
        _ => Ok((words, is_json)),
    }
}

fn split_sources(
    mut words: Vec<Token>,
    is_json: bool,
    input: &Input<'_>,
    keyword: &str,
) -> Result<(Vec<Source>, Word), Fault> {
    let destination = words.pop().unwrap_or(Token { text: String::new(), offset: input.command.offset });
    if heredoc::word(&destination.text).is_some() {
        let fault = Fault::new(format!("{keyword} cannot accept a heredoc as a destination"));
        return Err(fault.at(destination.offset));
    }
    let source = |word: &Token| {
        let heredoc = heredoc::word(&word.text).filter(|_| !is_json);
        // As in BuildKit, of several heredocs with one name the last has its body in all of them.
        let body = heredoc.and_then(|word| Some((input.heredocs.iter().rfind(|body| body.name == word.name)?, word)));
        match body {
            Some((body, word)) => Source::Heredoc(Heredoc { content: body.content.clone(), ..word }),
            None => Source::Path(Word::new(word.text.as_str())),
        }
    };
    let sources: Vec<Source> = words.iter().map(source).collect();
    let is_used = |heredoc: &&Heredoc| {
        sources.iter().any(|source| matches!(source, Source::Heredoc(used) if used.name == heredoc.name))
    };
    if let Some(lost) = input.heredocs.iter().find(|heredoc| !is_used(heredoc)) {
        let message = format!("{keyword} takes no file from heredoc {:?}: write <<NAME as one word", lost.name);
        return Err(Fault::new(message).at(input.command.offset));
    }
    Ok((sources, Word::new(destination.text)))
}
