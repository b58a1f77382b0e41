//! Heredocs: which words of a line begin one, what their bodies are, and what a RUN makes of them.
//!
//! *Invariant*: as in BuildKit, a heredoc's word is read with the backslash as escape character whatever the
//! directive says.

use std::borrow::Cow;

use super::expand::Expander;
use super::instruction::{CommandLine, Heredoc, Program, Run};

impl Heredoc {
    /// Returns the body as it is meant: with `<<-` without the tabs at the start of its lines.
    pub fn text(&self) -> Cow<'_, str> {
        if !self.chomp_tabs || !self.content.contains('\t') {
            return Cow::Borrowed(&self.content);
        }
        Cow::Owned(self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect())
    }
}

impl Run {
    /// Returns what the RUN starts. When its whole command is one `<<NAME`, that is the body: a file if it
    /// begins with `#!`, else a text for the shell. Otherwise the bodies go to the shell behind the line,
    /// and it must know heredocs itself.
    pub fn program(&self) -> Program {
        let line = match &self.command {
            CommandLine::Exec(words) => return Program::Exec(words.clone()),
            CommandLine::Shell(line) => line,
        };
        let Some(first) = self.heredocs.first() else { return Program::Shell(line.clone()) };
        if word(line).is_some() {
            let content = first.text().into_owned();
            if content.starts_with("#!") {
                return Program::File { name: first.name.clone(), content };
            }
            return Program::Shell(content);
        }
        let mut text = line.clone();
        for heredoc in &self.heredocs {
            text.push('\n');
            text.push_str(&heredoc.content);
            text.push_str(&heredoc.name);
        }
        Program::Shell(text)
    }
}

/// Finds the heredocs that a line begins, in order, their bodies still empty. A line that the shell lexer
/// cannot split has none.
pub(super) fn in_line(line: &str) -> Vec<Heredoc> {
    let unset = |_: &str| None;
    let lexer = Expander { raw_quotes: true, raw_escapes: true, skip_unset: true, ..Expander::new('\\', &unset) };
    let words = lexer.words(line).unwrap_or_default();
    words.iter().filter_map(|text| word(text)).collect()
}

/// Reads a word such as `<<EOF`, `3<<-"EOF"` as the beginning of a heredoc, or none if it is no such.
pub(super) fn word(text: &str) -> Option<Heredoc> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = text[digits..].strip_prefix("<<")?;
    let (chomp_tabs, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let unset = |_: &str| None;
    let lexer = Expander { skip_unset: true, ..Expander::new('\\', &unset) };
    let [name] = <[String; 1]>::try_from(lexer.words(rest).ok()?).ok()?;
    let raw = Expander { raw_quotes: true, ..lexer }.words(rest).ok()?;
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    let expand = quotes(&name) == raw.iter().map(|word| quotes(word)).sum::<usize>();
    let file_descriptor = match &text[..digits] {
        "" => 0,
        number => number.parse().unwrap_or(u32::MAX),
    };
    Some(Heredoc { name, expand, chomp_tabs, content: String::new(), file_descriptor })
}

/// Tells whether a line of the file, its line end trimmed, ends a heredoc.
pub(super) fn is_end(heredoc: &Heredoc, line: &[u8]) -> bool {
    let tabs = if heredoc.chomp_tabs { line.iter().take_while(|&&byte| byte == b'\t').count() } else { 0 };
    &line[tabs..] == heredoc.name.as_bytes()
}
