//! Logical lines become stages.
//!
//! Knows what may stand where: ARG alone before the first FROM, and at least one stage.
//!
//! *Invariant*: the first error in the order of the file is the one reported, but for faults of lines and
//! heredocs, which are found before any instruction is read.

use super::error::{Fault, ParseError, Warning};
use super::input::Input;
use super::instruction::{Instruction, Located, Span, Spanned, Stage};
use super::interpret::{Statement, interpret};
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
    let (dockerfile, error) = parse_until_error(text);
    error.map_or(Ok(dockerfile), Err)
}

/// Parses a Dockerfile as far as it is valid: what stands before the first error, with its warnings, and that error.
///
/// A fault of lines or heredocs leaves nothing before it.
pub fn parse_until_error(text: &[u8]) -> (Dockerfile, Option<ParseError>) {
    let lexed = match lex(text) {
        Ok(lexed) => lexed,
        Err(error) => return (Dockerfile::default(), Some(error)),
    };
    let mut dockerfile = Dockerfile { directives: lexed.directives, warnings: lexed.warnings, ..Dockerfile::default() };
    let syntax = dockerfile.directives.syntax.as_ref();
    dockerfile.warnings.extend(syntax.and_then(|syntax| lint::frontend(&syntax.value, syntax.span)));
    let mut keywords = Vec::new();
    let read = lexed.lines.iter().try_for_each(|line| {
        let is_of_a_stage = add(line, text, &mut dockerfile)?;
        keywords.extend(is_of_a_stage.then(|| (keyword(line), line.span)));
        Ok(())
    });
    let error = read.err().or_else(|| {
        let last = lexed.lines.last().map_or(Span::default(), |line| line.span);
        let none = || error(text, last, last.end, Fault::new("dockerfile contains no stages to build"));
        dockerfile.stages.is_empty().then(none)
    });
    if error.is_none() {
        lint::stages(&dockerfile.stages, &mut dockerfile.warnings);
        lint::casing(&keywords, &mut dockerfile.warnings);
    }
    let comments = lexed.lines.into_iter().filter(|line| !line.comments.is_empty());
    dockerfile.comments = comments.map(|line| (line.span.start, line.comments)).collect();
    if error.is_none() {
        dockerfile.warnings.extend(lint::definitions(&dockerfile));
    }
    dockerfile.warnings.sort_by_key(|warning| warning.span.start);
    (dockerfile, error)
}

/// Reads one line into the Dockerfile; tells whether it belongs to a stage.
fn add(line: &Line, text: &[u8], dockerfile: &mut Dockerfile) -> Result<bool, ParseError> {
    let statement = read(line, dockerfile.directives.escape, text, &mut dockerfile.warnings)?;
    match (statement, dockerfile.stages.last_mut()) {
        (Statement::From(from), _) => dockerfile.stages.push(Stage {
            name: from.name.as_ref().map(|name| name.to_lowercase()),
            from,
            instructions: Vec::new(),
            span: line.span,
            original: line.original(),
        }),
        (Statement::Instruction(Instruction::Arg(value)), None) => {
            dockerfile.arguments.push(Spanned { value, span: line.span });
            return Ok(false);
        }
        (Statement::Instruction(_), None) => {
            let fault = Fault::new("no build stage in current context: the first instruction must be FROM or ARG");
            return Err(line.error(text, fault));
        }
        (Statement::Instruction(instruction), Some(stage)) => {
            stage.instructions.push(Located { instruction, span: line.span, original: line.original() });
        }
    }
    Ok(true)
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
    let command = split_command(&line.text, 0, escape);
    let mut input = Input { command, escape, heredocs: &line.heredocs, span: line.span, warnings };
    interpret(&mut input).map_err(|fault| line.error(source, fault))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dockerfile::instruction::{CommandLine, Copy, Program, Run, Source, Word};
    use crate::dockerfile::{Healthcheck, Heredoc, Network, Security};

    /// Parses the instructions of one stage.
    fn stage(text: &str) -> Vec<Instruction> {
        let dockerfile =
            parse(format!("FROM base\n{text}").as_bytes()).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        dockerfile.stages[0].instructions.iter().map(|located| located.instruction.clone()).collect()
    }

    fn one(text: &str) -> Instruction {
        let mut instructions = stage(text);
        assert_eq!(instructions.len(), 1, "{text:?} gave {instructions:?}");
        instructions.remove(0)
    }

    fn run(text: &str) -> Run {
        match one(text) {
            Instruction::Run(run) => run,
            other => panic!("{other:?}"),
        }
    }

    fn copy(text: &str) -> Copy {
        match one(text) {
            Instruction::Copy(copy) => copy,
            other => panic!("{other:?}"),
        }
    }

    fn paths(sources: &[Source]) -> Vec<&str> {
        fn path(source: &Source) -> &str {
            match source {
                Source::Path(word) => word.as_str(),
                Source::Heredoc(heredoc) => &heredoc.name,
            }
        }
        sources.iter().map(path).collect()
    }

    fn json(text: &str) -> String {
        serde_json::to_string(&stage(text)).unwrap()
    }

    #[test]
    fn stages_and_global_arguments() {
        let text = "ARG TAG=1 REG\nfrom --platform=$BUILDPLATFORM img:$TAG as Build\nRUN a\nFROM build\nFROM scratch\n";
        let dockerfile = parse(text.as_bytes()).unwrap();
        assert_eq!(dockerfile.arguments[0].value.arguments[0].default, Some(Word::new("1")));
        assert_eq!(dockerfile.arguments[0].value.arguments[1].default, None);
        let [build, second, third] = dockerfile.stages.as_slice() else { panic!() };
        assert_eq!(build.name.as_deref(), Some("build"));
        assert_eq!(build.from.name.as_deref(), Some("Build"));
        assert_eq!(build.from.platform, Some(Word::new("$BUILDPLATFORM")));
        assert_eq!(build.from.base.as_str(), "img:$TAG");
        assert_eq!(build.original, "FROM --platform=$BUILDPLATFORM img:$TAG as Build");
        assert_eq!((build.instructions.len(), &second.name, third.from.base.as_str()), (1, &None, "scratch"));
    }

    #[test]
    fn spans_tell_lines_and_bytes() {
        let text = "# top\nFROM a\n\n  RUN one \\\n  # note\n\n  two\nCOPY <<E /\nx\nE\nUSER me";
        let dockerfile = parse(text.as_bytes()).unwrap();
        let seen = dockerfile.stages[0].instructions.iter().map(|located| {
            let Span { first_line, last_line, start, end } = located.span;
            (first_line, last_line, &text[start..end], located.original.as_str())
        });
        let seen = seen.collect::<Vec<_>>();
        assert_eq!(seen[0], (4, 7, "RUN one \\\n  # note\n\n  two", "RUN one   two"));
        assert_eq!(seen[1], (8, 10, "COPY <<E /\nx\nE", "COPY <<E /"));
        assert_eq!(seen[2], (11, 11, "USER me", "USER me"));
        assert_eq!(dockerfile.stages[0].span, Span { first_line: 2, last_line: 2, start: 6, end: 12 });
    }

    #[test]
    fn lines_join_at_the_escape_character() {
        let shell = |text: &str| match run(text).command {
            CommandLine::Shell(text) => text,
            CommandLine::Exec(words) => panic!("{words:?}"),
        };
        for (text, expected) in [
            ("RUN a\\\nb", "ab"),
            ("RUN a \\\n    b", "a     b"),
            ("RUN a \\ \t\n b", "a  b"),
            ("RUN a\\\n# c\n  # d\nb", "ab"),
            ("RUN a\\\n\n\nb", "ab"),
            ("RUN a\\", "a"),
            ("RUN a\\\n", "a"),
            ("RUN a\\\\\nRUN b", "a\\\\"),
            ("RUN \\\n  a", "a"),
            ("RUN a \\\r\n b\r\n", "a  b"),
            ("RUN a # b", "a # b"),
            ("RUN # a", "# a"),
            ("RUN a \\x", "a \\x"),
            ("\\\nRUN a", "a"),
            ("run\ta", "a"),
            ("RUN", ""),
            ("RUN é\\\nü", "éü"),
            ("RUN [ -f x ] && y", "[ -f x ] && y"),
            ("RUN ['a']", "['a']"),
            ("RUN [\"a\",]", "[\"a\",]"),
            ("RUN [\"a\"] x", "[\"a\"] x"),
        ] {
            let first = stage(text).swap_remove(0);
            let Instruction::Run(run) = first else { panic!("{first:?}") };
            assert_eq!(run.command, CommandLine::Shell(expected.to_owned()), "{text:?}");
        }
        assert_eq!(shell("RUN a\\\n\\\nb"), "ab");
    }

    #[test]
    fn a_backtick_joins_lines_when_the_directive_says_so() {
        let dockerfile =
            parse(b"# escape=`\n# syntax = docker/dockerfile:1 \nFROM a\nRUN x `\n y\\\nENV A=b` c D=`\"").unwrap();
        assert_eq!(dockerfile.directives.escape, '`');
        let syntax = dockerfile.directives.syntax.unwrap();
        assert_eq!((syntax.value.as_str(), syntax.span.first_line), ("docker/dockerfile:1", 2));
        let texts: Vec<_> = dockerfile.stages[0].instructions.iter().map(|located| located.original.as_str()).collect();
        assert_eq!(texts, ["RUN x  y\\", "ENV A=b` c D=`\""]);
        let Instruction::Env(env) = &dockerfile.stages[0].instructions[1].instruction else { panic!() };
        assert_eq!(env.pairs.iter().map(|pair| pair.value.as_str()).collect::<Vec<_>>(), ["b` c", "`\""]);
    }

    #[test]
    fn directives_end_with_the_first_other_line() {
        for (text, escape, syntax, check) in [
            ("#escape=`\n#check=skip=all\n", '`', None, Some("skip=all")),
            ("\n# escape=`\n", '\\', None, None),
            ("# hello\n# escape=`\n", '\\', None, None),
            ("# unknown=1\n# escape=`\n", '\\', None, None),
            ("#!/bin/x\n# escape=`\n# syntax=y\n", '\\', Some("y"), None),
            ("\u{feff}# SYNTAX=y\n# Escape = \\ \n", '\\', Some("y"), None),
            ("  #   escape=`\n", '`', None, None),
            ("# syntax=\n# escape=`\n", '\\', None, None),
        ] {
            let found = parse(format!("{text}FROM a\n").as_bytes()).expect(text).directives;
            let value = |directive: Option<Spanned<String>>| directive.map(|directive| directive.value);
            assert_eq!(found.escape, escape, "{text:?}");
            assert_eq!(value(found.syntax).as_deref(), syntax, "{text:?}");
            assert_eq!(value(found.check).as_deref(), check, "{text:?}");
        }
    }

    #[test]
    fn each_instruction_keeps_its_words() {
        for (text, expected) in [
            (
                "ARG a b= c=$d e=\"x y\"",
                r#"{"Arg":{"arguments":[{"name":"a","default":null},{"name":"b","default":""},{"name":"c","default":"$d"},{"name":"e","default":"\"x y\""}]}}"#,
            ),
            (
                r"ARG a='x\' b=\' c",
                r#"{"Arg":{"arguments":[{"name":"a","default":"'x\\'"},{"name":"b","default":"\\'"},{"name":"c","default":null}]}}"#,
            ),
            ("CMD a b", r#"{"Cmd":{"Shell":"a b"}}"#),
            ("CMD [\"a\", \"b \\u0041\"]", r#"{"Cmd":{"Exec":["a","b A"]}}"#),
            ("CMD []", r#"{"Cmd":{"Exec":[]}}"#),
            ("CMD", r#"{"Cmd":{"Shell":""}}"#),
            ("ENTRYPOINT [\"a\"]", r#"{"Entrypoint":{"Exec":["a"]}}"#),
            (
                "ENV a=1 b='x y' c=z\\ w",
                r#"{"Env":{"pairs":[{"name":"a","value":"1"},{"name":"b","value":"'x y'"},{"name":"c","value":"z\\ w"}],"legacy":false}}"#,
            ),
            ("ENV a  b c=d", r#"{"Env":{"pairs":[{"name":"a","value":"b c=d"}],"legacy":true}}"#),
            (
                "ENV a=b=c \"d e\"=f",
                r#"{"Env":{"pairs":[{"name":"a","value":"b=c"},{"name":"\"d e\"","value":"f"}],"legacy":false}}"#,
            ),
            ("LABEL a=", r#"{"Label":{"pairs":[{"name":"a","value":""}],"legacy":false}}"#),
            ("EXPOSE 90 80/udp $P", r#"{"Expose":{"ports":["$P","80/udp","90"]}}"#),
            ("HEALTHCHECK NONE", r#"{"Healthcheck":"None"}"#),
            ("MAINTAINER a b <c>", r#"{"Maintainer":"a b <c>"}"#),
            ("SHELL [\"/bin/bash\", \"-c\"]", r#"{"Shell":["/bin/bash","-c"]}"#),
            ("STOPSIGNAL SIG$X", r#"{"Stopsignal":"SIG$X"}"#),
            ("USER a:b", r#"{"User":"a:b"}"#),
            ("VOLUME /a /b", r#"{"Volume":["/a","/b"]}"#),
            ("VOLUME [\"/a b\"]", r#"{"Volume":["/a b"]}"#),
            ("WORKDIR /a b", r#"{"Workdir":"/a b"}"#),
        ] {
            assert_eq!(json(text), format!("[{expected}]"), "{text:?}");
        }
    }

    #[test]
    fn copy_and_add_know_their_flags() {
        let found = copy(
            "COPY --from=b --chown=\"a b\":$G --chmod=u+x --link --parents=TRUE --exclude=*.o --exclude=x -- --a b /",
        );
        assert_eq!(found.from, Some(Word::new("b")));
        assert_eq!(found.chown, Some(Word::new("a b:$G")));
        assert_eq!((found.link, found.parents), (true, true));
        assert_eq!(found.excludes, [Word::new("*.o"), Word::new("x")]);
        assert_eq!((paths(&found.sources), found.destination.as_str()), (vec!["--a", "b"], "/"));
        let found = copy("COPY --link=false --chown= [\"a b\", \"c\"]");
        assert_eq!((found.link, found.chown, paths(&found.sources)), (false, None, vec!["a b"]));
        let Instruction::Add(add) = one("ADD --checksum=sha256:$S --keep-git-dir --unpack=false http://x/y /z") else {
            panic!()
        };
        assert_eq!(add.checksum, Some(Word::new("sha256:$S")));
        assert_eq!((add.keep_git_directory, add.unpack), (Some(true), Some(false)));
        let Instruction::Add(add) = one("ADD a b") else { panic!() };
        assert_eq!((add.keep_git_directory, add.unpack, add.link), (None, None, false));
    }

    #[test]
    fn run_knows_its_flags() {
        let found = run(
            "RUN --mount=type=cache,target=/c --network=none --security=insecure --device=x/y=z --mount=from=b,target=/b cmd --flag",
        );
        assert_eq!(found.command, CommandLine::Shell("cmd --flag".into()));
        assert_eq!(found.mounts.iter().map(|mount| mount.from()).collect::<Vec<_>>(), [None, Some("b")]);
        assert_eq!((found.network, found.security), (Some(Network::None), Some(Security::Insecure)));
        assert_eq!(found.devices[0].name, "x/y=z");
        assert_eq!((run("RUN a").network, run("RUN a").security), (None, None));
    }

    #[test]
    fn health_checks_have_times() {
        let text =
            "HEALTHCHECK --interval=1m --timeout=0s --start-period=2s --start-interval=1ms --retries=3 CMD [\"a\"]";
        let Instruction::Healthcheck(Healthcheck::Check(check)) = one(text) else { panic!() };
        assert_eq!((check.interval, check.timeout), (Some(60_000_000_000), None));
        assert_eq!((check.start_period, check.start_interval), (Some(2_000_000_000), Some(1_000_000)));
        assert_eq!((check.retries, check.command), (Some(3), CommandLine::Exec(vec!["a".into()])));
        let Instruction::Healthcheck(Healthcheck::Check(check)) = one("HEALTHCHECK cmd a  b") else { panic!() };
        assert_eq!((check.retries, check.command), (None, CommandLine::Shell("a  b".into())));
    }

    #[test]
    fn heredocs_have_bodies() {
        let file = |heredoc: &Heredoc| (heredoc.name.clone(), heredoc.expand, heredoc.text().into_owned());
        let files = |text: &str| {
            let sources = copy(text).sources;
            let file = |source: &Source| match source {
                Source::Heredoc(heredoc) => file(heredoc),
                Source::Path(word) => (word.to_string(), false, "path".to_owned()),
            };
            sources.iter().map(file).collect::<Vec<_>>()
        };
        let row = |name: &str, expand, text: &str| (name.to_owned(), expand, text.to_owned());
        for (text, expected) in [
            ("COPY <<EOF /x\na\n  b $c\nEOF\n", vec![row("EOF", true, "a\n  b $c\n")]),
            ("COPY <<'EOF' /x\na\nEOF", vec![row("EOF", false, "a\n")]),
            ("COPY <<\"E\"OF /x\na\nEOF", vec![row("EOF", false, "a\n")]),
            ("COPY <<-EOF /x\n\t\ta\n\t EOF\n\tb\tc\n\tEOF", vec![row("EOF", true, "a\n EOF\nb\tc\n")]),
            (
                "COPY <<a <<b y /x\n1\na\n2\nb",
                vec![row("a", true, "1\n"), row("b", true, "2\n"), row("y", false, "path")],
            ),
            ("COPY <<EOF /x\nEOF", vec![row("EOF", true, "")]),
            ("COPY <<EOF /x\r\na\r\nEOF\r\n", vec![row("EOF", true, "a\r\n")]),
            ("COPY <<EOF \\\n /x\n# kept\n\nx \\\nEOF", vec![row("EOF", true, "# kept\n\nx \\\n")]),
            ("COPY [\"<<EOF\", \"/x\"]", vec![row("<<EOF", false, "path")]),
            ("COPY a<<EOF /x", vec![row("a<<EOF", false, "path")]),
            ("COPY <<<EOF /x", vec![row("<<<EOF", false, "path")]),
        ] {
            assert_eq!(files(text), expected, "{text:?}");
        }
        assert_eq!(run("RUN 3<<a cat\nx\na").heredocs[0].file_descriptor, 3);
    }

    #[test]
    fn a_run_becomes_a_program() {
        let shell = |text: &str| Program::Shell(text.to_owned());
        for (text, expected) in [
            ("RUN a b", shell("a b")),
            ("RUN [\"a\", \"b\"]", Program::Exec(vec!["a".into(), "b".into()])),
            ("RUN <<EOF\na\nb\nEOF", shell("a\nb\n")),
            ("RUN << EOF\na\nEOF", shell("a\n")),
            ("RUN <<-EOF\n\ta\n\tEOF", shell("a\n")),
            (
                "RUN <<S\n#!/usr/bin/env python\nprint(1)\nS",
                Program::File { name: "S".into(), content: "#!/usr/bin/env python\nprint(1)\n".into() },
            ),
            ("RUN cat <<A - <<-B | tee x\n1\nA\n\t2\n\tB", shell("cat <<A - <<-B | tee x\n1\nA\n\t2\nB")),
            ("RUN <<EOF bash\na\nEOF", shell("<<EOF bash\na\nEOF")),
            ("RUN echo 'no << here'", shell("echo 'no << here'")),
            ("RUN echo $((1<<3))", shell("echo $((1<<3))")),
            ("RUN --network=none <<EOF\na\nEOF", shell("a\n")),
        ] {
            assert_eq!(run(text).program(), expected, "{text:?}");
        }
    }

    #[test]
    fn onbuild_keeps_text_and_meaning() {
        let Instruction::Onbuild(found) = one("ONBUILD  copy --from=x <<EOF /y\nbody\nEOF") else { panic!() };
        assert_eq!(found.instruction_text, "copy --from=x <<EOF /y\nbody\nEOF");
        assert!(matches!(&*found.instruction, Instruction::Copy(copy) if copy.from == Some(Word::new("x"))));
        let again = parse_instruction(&found.instruction_text).unwrap();
        assert_eq!((again.len(), &again[0].instruction), (1, &*found.instruction));
        assert_eq!(again[0].original, "COPY --from=x <<EOF /y");
        assert!(parse_instruction("FROM x").is_err());
        assert!(parse_instruction("").is_err());
    }

    /// Text behind `FROM a` on line 1, then line, column, and the beginning of the message.
    #[test]
    fn errors_tell_the_place() {
        for (text, line, column, message) in [
            ("FOO x", 2, 1, "unknown instruction: FOO"),
            ("\n  CPOY a b", 3, 3, "unknown instruction: CPOY (did you mean COPY?)"),
            ("rnu a", 2, 1, "unknown instruction: rnu (did you mean run?)"),
            ("COPY a", 2, 6, "COPY requires at least two arguments, but only one"),
            ("COPY", 2, 1, "COPY requires at least two arguments, but none"),
            ("ADD --link a", 2, 12, "ADD requires at least two arguments, but only one"),
            ("COPY --form=x a b", 2, 6, "unknown flag: --form (did you mean --from?)"),
            ("COPY \\\n --link \\\n # c\n --lnik a b", 5, 2, "unknown flag: --lnik (did you mean --link?)"),
            ("COPY --checksum=x a b", 2, 6, "unknown flag: --checksum"),
            ("COPY --from a b", 2, 6, "missing a value on flag: --from"),
            ("COPY --link= a b", 2, 6, "missing a value on flag: --link"),
            ("COPY --link=x a b", 2, 6, "expecting boolean value for flag --link, not: x"),
            ("COPY --link --link a b", 2, 13, "duplicate flag specified: --link"),
            ("COPY --from=$x a b", 2, 6, "variable expansion is not supported for --from"),
            ("COPY a <<EOF\nEOF", 2, 8, "COPY cannot accept a heredoc as a destination"),
            ("COPY << EOF /x\nEOF", 2, 6, "COPY takes no file from heredoc \"EOF\""),
            ("COPY [\"a\", 1]", 2, 6, "when using JSON array syntax"),
            ("RUN [null]", 2, 5, "when using JSON array syntax"),
            ("RUN --foo x", 2, 5, "unknown flag: --foo"),
            ("RUN --network=x y", 2, 5, "invalid network mode \"x\""),
            ("RUN --security=x y", 2, 5, "security \"x\" is not valid"),
            ("RUN --mount=from=$x,target=/y z", 2, 5, "'from' doesn't support variable expansion"),
            ("RUN <<EOF\na\n", 2, 1, "unterminated heredoc: no line is \"EOF\""),
            ("ENV", 2, 1, "ENV requires at least one argument"),
            ("ENV a", 2, 5, "ENV must have two arguments"),
            ("ENV a=b c", 2, 9, "Syntax error - can't find = in \"c\". Must be of the form: name=value"),
            ("ENV =b", 2, 5, "ENV names can not be blank"),
            ("LABEL a=b =c", 2, 11, "LABEL names can not be blank"),
            ("ARG", 2, 1, "ARG requires at least one argument"),
            ("ARG a =b", 2, 7, "ARG names can not be blank"),
            ("ARG --x a", 2, 5, "unknown flag: --x"),
            ("EXPOSE", 2, 1, "EXPOSE requires at least one argument"),
            ("SHELL bash", 2, 7, "SHELL requires the arguments to be in JSON form"),
            ("SHELL []", 2, 1, "SHELL requires at least one argument"),
            ("USER", 2, 1, "USER requires exactly one argument"),
            ("WORKDIR", 2, 1, "WORKDIR requires exactly one argument"),
            ("STOPSIGNAL", 2, 1, "STOPSIGNAL requires exactly one argument"),
            ("VOLUME []", 2, 1, "VOLUME requires at least one argument"),
            ("VOLUME [\" \"]", 2, 8, "VOLUME specified can not be an empty string"),
            ("HEALTHCHECK", 2, 1, "HEALTHCHECK requires at least one argument"),
            ("HEALTHCHECK NONE x", 2, 18, "HEALTHCHECK NONE takes no arguments"),
            ("HEALTHCHECK CMD", 2, 16, "Missing command after HEALTHCHECK CMD"),
            ("HEALTHCHECK curl", 2, 13, "Unknown type \"CURL\" in HEALTHCHECK (try CMD)"),
            ("HEALTHCHECK --interval=1us CMD x", 2, 13, "Interval \"interval\" cannot be less than 1ms"),
            ("HEALTHCHECK --timeout=5 CMD x", 2, 13, "--timeout: invalid duration \"5\""),
            ("HEALTHCHECK --retries=-1 CMD x", 2, 13, "--retries cannot be negative (-1)"),
            ("HEALTHCHECK --retries=x CMD x", 2, 13, "--retries: \"x\" is not a number"),
            ("ONBUILD", 2, 1, "ONBUILD requires at least one argument"),
            ("ONBUILD ONBUILD RUN a", 2, 9, "Chaining ONBUILD"),
            ("ONBUILD FROM a", 2, 9, "FROM isn't allowed as an ONBUILD trigger"),
            ("ONBUILD maintainer a", 2, 9, "MAINTAINER isn't allowed as an ONBUILD trigger"),
            ("ONBUILD COPY a", 2, 14, "COPY requires at least two arguments, but only one"),
            ("ONBUILD NUR a", 2, 9, "unknown instruction: NUR"),
            ("FROM", 2, 5, "FROM requires either one or three arguments"),
            ("FROM a b c", 2, 6, "FROM requires either one or three arguments"),
            ("FROM a AS 1b", 2, 11, "invalid name for build stage: \"1b\""),
            ("FROM --platfrom=x a", 2, 6, "unknown flag: --platfrom (did you mean --platform?)"),
        ] {
            let error = parse(format!("FROM a\n{text}").as_bytes()).expect_err(text);
            let hint = error.hint.as_ref().map_or(String::new(), |hint| format!(" ({hint})"));
            let found = format!("{}{hint}", error.message);
            assert!(found.starts_with(message), "{text:?} gave {found:?}");
            assert_eq!((error.line, error.column), (line, column), "{text:?}: {found}");
        }
    }

    #[test]
    fn whole_files_may_be_wrong() {
        for (text, line, message) in [
            ("", 1, "the Dockerfile cannot be empty"),
            ("# only\n\n", 3, "file with no instructions"),
            ("ARG a", 1, "dockerfile contains no stages to build"),
            ("ARG a\nRUN b\nFROM c", 2, "no build stage in current context"),
            ("# escape=x\nFROM a", 1, "invalid escape token 'x'"),
            ("# escape=`\n# escape=`\nFROM a", 2, "only one escape parser directive can be used"),
            ("# syntax=a\n#SYNTAX=b\nFROM a", 2, "only one syntax parser directive can be used"),
            ("FROM a\n\\\n", 2, "unknown instruction: "),
        ] {
            let error = parse(text.as_bytes()).expect_err(text);
            assert!(error.message.starts_with(message), "{text:?} gave {error}");
            assert_eq!(error.line, line, "{text:?}");
        }
    }

    #[test]
    fn lines_are_as_long_as_in_buildkit() {
        let file = |length: usize| format!("FROM a\nRUN {}\n", "x".repeat(length - 4));
        assert!(parse(file(65535).as_bytes()).is_ok());
        let error = parse(file(65536).as_bytes()).unwrap_err();
        assert_eq!((error.line, error.message.as_str()), (2, "dockerfile line greater than max allowed size of 65535"));
    }

    #[test]
    fn bytes_that_are_no_text() {
        let dockerfile = parse(b"# caf\xe9\nFROM a\nLABEL a=caf\xe9\n").unwrap();
        assert_eq!(dockerfile.warnings.iter().map(|warning| warning.rule.name()).collect::<Vec<_>>(), ["InvalidUtf8"]);
        let error = parse(b"FROM a\nCOPY <<E /\nok\ncaf\xe9\nE\n").unwrap_err();
        assert_eq!((error.line, error.column), (4, 4));
    }

    #[test]
    fn warnings_have_buildkits_names() {
        for (text, expected) in [
            ("FROM a\nRUN b\n", vec![]),
            ("FROM a\nRUN b\\\n\nc\n", vec![("NoEmptyContinuation", 4)]),
            ("FROM a\nMAINTAINER b\n", vec![("MaintainerDeprecated", 2)]),
            ("FROM a\nENV b c\nLABEL d e\n", vec![("LegacyKeyValueFormat", 2), ("LegacyKeyValueFormat", 3)]),
            ("FROM a as b\n", vec![("FromAsCasing", 1)]),
            ("from a AS b\n", vec![("FromAsCasing", 1)]),
            ("FROM a AS B\n", vec![("StageNameCasing", 1)]),
            ("FROM a AS b\nFROM c AS b\n", vec![("DuplicateStageName", 2)]),
            ("FROM a AS scratch\n", vec![("ReservedStageName", 1)]),
            (
                "FROM a\nRUN b\nrun c\nRun d\n",
                vec![("ConsistentInstructionCasing", 3), ("ConsistentInstructionCasing", 4)],
            ),
            ("from a\nrun b\nRUN c\n", vec![("ConsistentInstructionCasing", 3)]),
            ("FROM a\nCMD b\nCMD c\n", vec![("MultipleInstructionsDisallowed", 2)]),
            ("FROM a\nCMD b\nFROM c\nCMD d\n", vec![]),
            ("FROM a\nCMD ['b']\n", vec![("InvalidJsonForm", 2)]),
            ("FROM a\nRUN [ -e b ]\n", vec![]),
        ] {
            let warnings = parse(text.as_bytes()).expect(text).warnings;
            let found: Vec<_> = warnings.iter().map(|warning| (warning.rule.name(), warning.span.first_line)).collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }

    const LINE: &str = "(FROM a( AS b)?|(ONBUILD )?(RUN|COPY|ADD|CMD|ENV|ARG|HEALTHCHECK|VOLUME|SHELL) \
                        (--(mount|from|link|interval)=?)?([ab=,$'\"\\[\\]{}-]| |<<-?E|\\\\\n|\\\\){0,8}|# ?escape=`|E|\tE|\\PC{0,6}|)\n";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(768))]

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), lines in prop::collection::vec(LINE, 0..8)) {
            let _ = parse(&bytes);
            let _ = parse_instruction(&String::from_utf8_lossy(&bytes));
            let text = format!("FROM x\n{}", lines.concat());
            for text in [&text, &text[7..]] {
                match parse(text.as_bytes()) {
                    Ok(dockerfile) => {
                        for located in dockerfile.stages.iter().flat_map(|stage| &stage.instructions) {
                            let Span { first_line, last_line, start, end } = located.span;
                            prop_assert!(start < end && end <= text.len() && first_line <= last_line);
                            prop_assert_eq!(text[..start].matches('\n').count() + 1, first_line);
                            prop_assert_eq!(text[..end].matches('\n').count() + 1, last_line);
                            if let Instruction::Run(run) = &located.instruction {
                                run.program();
                            }
                        }
                    }
                    Err(error) => prop_assert!(error.line <= text.matches('\n').count() + 1 && error.column > 0),
                }
            }
        }

        #[test]
        fn an_instruction_survives_joining_and_splitting(words in prop::collection::vec("[a-z=$'-]{1,4}", 2..6), breaks in any::<[bool; 6]>()) {
            let plain = format!("RUN {}", words.join(" "));
            let broken: String = words.iter().zip(breaks)
                .map(|(word, split)| if split { format!(" \\\n# x\n{word}") } else { format!(" {word}") }).collect();
            let parsed = |text: &str| parse(format!("FROM a\n{text}").as_bytes()).map(|found| found.stages[0].instructions[0].instruction.clone());
            let (one, two) = (parsed(&plain), parsed(&format!("RUN{broken}")));
            prop_assert_eq!(one.map_err(|error| error.message), two.map_err(|error| error.message));
        }
    }
}
