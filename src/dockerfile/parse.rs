//! Logical lines become stages.
//!
//! Knows what may stand where: ARG alone before the first FROM, and at least one stage.
//!
//! *Invariant*: the first error in the order of the file is the one reported, but for faults of lines and
//! heredocs, which are found before any instruction is read.

use super::error::{Fault, ParseError, Warning};
use super::instruction::{Instruction, Located, Span, Spanned, Stage};
use super::interpret::{Input, Statement, interpret};
use super::lex::{Line, error, lex};
use super::words::split_command;
use super::{Dockerfile, lint};

/// Parses a Dockerfile.
///
/// A byte-order mark is skipped and CRLF line ends are fine. Bytes that are not UTF-8 become U+FFFD with a
/// warning, as BuildKit does silently, but are refused in heredocs, whose bytes are files.
///
/// # Errors
/// When BuildKit would refuse it, with the place and, for misspelt words, a hint.
pub fn parse(text: &[u8]) -> Result<Dockerfile, ParseError> {
    let lexed = lex(text)?;
    let mut warnings = lexed.warnings;
    let mut arguments = Vec::new();
    let mut stages: Vec<Stage> = Vec::new();
    let mut keywords = Vec::new();
    for line in &lexed.lines {
        let statement = read(line, lexed.directives.escape, text, &mut warnings)?;
        match (statement, stages.last_mut()) {
            (Statement::From(from), _) => stages.push(Stage {
                name: from.name.as_ref().map(|name| name.to_lowercase()),
                from,
                instructions: Vec::new(),
                span: line.span,
                original: line.original(),
            }),
            (Statement::Instruction(Instruction::Arg(value)), None) => {
                arguments.push(Spanned { value, span: line.span });
                continue;
            }
            (Statement::Instruction(_), None) => {
                let fault = Fault::new("no build stage in current context: the first instruction must be FROM or ARG");
                return Err(line.error(text, fault));
            }
            (Statement::Instruction(instruction), Some(stage)) => {
                stage.instructions.push(Located { instruction, span: line.span, original: line.original() });
            }
        }
        keywords.push((keyword(line), line.span));
    }
    if stages.is_empty() {
        let last = lexed.lines.last().map_or(Span::default(), |line| line.span);
        return Err(error(text, last, last.end, Fault::new("dockerfile contains no stages to build")));
    }
    lint::stages(&stages, &mut warnings);
    lint::casing(&keywords, &mut warnings);
    warnings.sort_by_key(|warning| warning.span.start);
    Ok(Dockerfile { directives: lexed.directives, arguments, stages, warnings })
}

/// Parses an ONBUILD trigger out of an image's configuration; its spans are within that text.
///
/// As in BuildKit the escape character is the backslash whatever it was where the trigger was written.
///
/// # Errors
/// When the text is not valid or holds a FROM.
pub fn parse_instruction(text: &str) -> Result<Vec<Located>, ParseError> {
    let source = text.as_bytes();
    let lexed = lex(source)?;
    let mut instructions = Vec::new();
    for line in &lexed.lines {
        match read(line, lexed.directives.escape, source, &mut Vec::new())? {
            Statement::Instruction(instruction) => {
                instructions.push(Located { instruction, span: line.span, original: line.original() });
            }
            Statement::From(_) => {
                return Err(line.error(source, Fault::new("FROM isn't allowed as an ONBUILD trigger")));
            }
        }
    }
    Ok(instructions)
}

fn keyword(line: &Line) -> &str {
    line.text.split_whitespace().next().unwrap_or_default()
}

/// Reads one line.
fn read(line: &Line, escape: char, source: &[u8], warnings: &mut Vec<Warning>) -> Result<Statement, ParseError> {
    let mut found = Vec::new();
    let command = split_command(&line.text, 0, escape);
    let mut input = Input { command, escape, heredocs: &line.heredocs, warnings: &mut found };
    let statement = interpret(&mut input).map_err(|fault| line.error(source, fault))?;
    warnings.extend(found.into_iter().map(|(rule, message)| Warning { rule, span: line.span, message }));
    Ok(statement)
}
