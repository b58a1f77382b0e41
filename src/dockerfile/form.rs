//! How each instruction is written: what is told where one is not.

/// The instructions, each with its form as the reference of the language has it.
///
/// Source: <https://docs.docker.com/reference/dockerfile/>.
const FORMS: [(&str, &str); 18] = [
    ("ADD", "ADD [--chown=USER] [--chmod=MODE] SOURCE… DESTINATION"),
    ("ARG", "ARG NAME[=VALUE]"),
    ("CMD", "CMD [\"PROGRAM\", \"ARGUMENT\"] or CMD TEXT FOR THE SHELL"),
    ("COPY", "COPY [--from=STAGE] [--chown=USER] [--chmod=MODE] SOURCE… DESTINATION"),
    ("ENTRYPOINT", "ENTRYPOINT [\"PROGRAM\", \"ARGUMENT\"] or ENTRYPOINT TEXT FOR THE SHELL"),
    ("ENV", "ENV NAME=VALUE …; a value with spaces stands in quotes"),
    ("EXPOSE", "EXPOSE PORT[/PROTOCOL]"),
    ("FROM", "FROM [--platform=PLATFORM] IMAGE [AS NAME]"),
    ("HEALTHCHECK", "HEALTHCHECK [--interval=30s] [--timeout=30s] [--retries=3] CMD COMMAND, or HEALTHCHECK NONE"),
    ("LABEL", "LABEL NAME=VALUE …; a value with spaces stands in quotes"),
    ("MAINTAINER", "LABEL org.opencontainers.image.authors=NAME, which stands for MAINTAINER NAME"),
    ("ONBUILD", "ONBUILD INSTRUCTION"),
    ("RUN", "RUN [--mount=type=…] [--network=default|none|host] COMMAND"),
    ("SHELL", "SHELL [\"PROGRAM\", \"ARGUMENT\"]"),
    ("STOPSIGNAL", "STOPSIGNAL SIGNAL"),
    ("USER", "USER NAME[:GROUP]"),
    ("VOLUME", "VOLUME DIRECTORY"),
    ("WORKDIR", "WORKDIR DIRECTORY"),
];

/// Says how the instruction is written that a line begins with.
pub fn of_line(line: &str) -> String {
    hint(&line.split_whitespace().next().unwrap_or_default().to_uppercase())
}

/// Says how an instruction is written, for whoever wrote it otherwise; `keyword` is in upper case.
pub(super) fn hint(keyword: &str) -> String {
    match FORMS.iter().find(|(known, _)| *known == keyword) {
        Some((_, form)) => format!("write {form}"),
        None => "each instruction begins a line with its name (FROM, RUN, COPY …); a line that goes on in the next \
                 ends with \\"
            .to_owned(),
    }
}
