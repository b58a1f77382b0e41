use super::*;

/// All flags of `executor --help` in <https://github.com/osscontainertools/kaniko>, v1.28.3, hidden ones included.
const KANIKO: [&str; 68] = [
    "annotation",
    "bucket",
    "build-arg",
    "cache",
    "cache-copy-layers",
    "cache-dir",
    "cache-repo",
    "cache-run-layers",
    "cache-ttl",
    "cleanup",
    "compressed-caching",
    "compression",
    "compression-level",
    "context",
    "context-sub-path",
    "credential-helpers",
    "custom-platform",
    "customPlatform",
    "destination",
    "digest-file",
    "dockerfile",
    "dryrun",
    "force",
    "force-build-metadata",
    "git",
    "ignore-path",
    "ignore-var-run",
    "image-download-retry",
    "image-format",
    "image-fs-extract-retry",
    "image-name-tag-with-digest-file",
    "image-name-with-digest-file",
    "insecure",
    "insecure-pull",
    "insecure-registry",
    "kaniko-dir",
    "label",
    "log-format",
    "log-timestamp",
    "materialize",
    "no-push",
    "no-push-cache",
    "oci-layout-path",
    "pre-cleanup",
    "preserve-context",
    "push-ignore-immutable-tag-errors",
    "push-retry",
    "registry-certificate",
    "registry-client-cert",
    "registry-map",
    "registry-mirror",
    "reproducible",
    "secret",
    "single-snapshot",
    "skip-default-registry-fallback",
    "skip-push-permission-check",
    "skip-tls-verify",
    "skip-tls-verify-pull",
    "skip-tls-verify-registry",
    "skip-unused-stages",
    "snapshot-mode",
    "snapshotMode",
    "tar-path",
    "tarPath",
    "target",
    "use-new-run",
    "verbosity",
    "whitelist-var-run",
];

fn parsed(words: &[&str]) -> Result<Invocation, Failure> {
    parse(["yadokari"].iter().chain(words).map(OsString::from))
}

fn refused(words: &[&str]) -> Failure {
    parsed(words).expect_err(&format!("{words:?} was taken"))
}

#[test]
fn each_flag_of_kaniko_is_there_or_refused_by_name() {
    let ours = long_names();
    for name in KANIKO {
        if ours.iter().any(|own| own == name) {
            assert!(kaniko::FLAGS.iter().all(|flag| flag.name != name), "--{name} is there and listed as missing");
            continue;
        }
        for words in [vec![format!("--{name}=x")], vec![format!("--{name}")], vec![format!("--{name}"), "x".to_owned()]]
        {
            let words: Vec<&str> = ["--no-push"].into_iter().chain(words.iter().map(String::as_str)).collect();
            let failure = refused(&words);
            let start = format!("--{name} is a flag of kaniko's that is not there yet (");
            assert!(failure.message.starts_with(&start), "{words:?}: {}", failure.message);
            assert_eq!(failure.exit_code, 72);
        }
    }
}

#[test]
fn each_flag_says_what_it_is_for() {
    for arg in command().get_arguments() {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.split(' ').count() >= 3, "{}: {help:?}", arg.get_id());
    }
}

#[test]
fn refusals_help() {
    let rows: Vec<(Vec<&str>, &str, &str)> = vec![
        (vec!["--destinatoin=x"], "there is no flag --destinatoin", "did you mean --destination?"),
        (vec!["--nonsense-flag", "x"], "there is no flag --nonsense-flag", "run `yadokari --help` for all flags"),
        (vec!["-x"], "there is no flag -x", "run `yadokari --help` for all flags"),
        (vec!["bake"], "there is no command `bake`", "run `yadokari --help` for flags and commands"),
        (vec!["--no-push", "1"], "`1` belongs to no flag", "write --no-push=1, with `=`"),
        (vec!["--label", "a=b", "c=d"], "`c=d` behind --label belongs to no flag", "put a value with spaces"),
        (vec!["--build-arg", "A=my", "secret"], "a word behind --build-arg belongs to no flag", "into quotes"),
        (vec!["--build-arg=A=my", "secret"], "a word behind --build-arg belongs to no flag", "into quotes"),
        (vec!["--context"], "--context needs a value", ""),
        (vec!["--no-push=perhaps"], "--no-push cannot be `perhaps`: write true or false", ""),
        (vec!["--no-push="], "--no-push needs a value", ""),
        (vec!["--snapshot-mode=some"], "--snapshot-mode cannot be `some`", "it can be full, redo, time"),
        (vec!["--isolation=vm"], "--isolation cannot be `vm`", "it can be auto, namespace, chroot, container"),
        (vec!["-v", "loud"], "--verbosity cannot be `loud`", "it can be error, warn, info, debug, trace"),
        (vec!["--timeout=90"], "--timeout cannot be `90`: write a time with its unit", ""),
        (vec!["--timeout=0s"], "--timeout cannot be `0s`", ""),
        (vec!["--push-retry=-1"], "--push-retry cannot be `-1`", ""),
        (vec!["--compression-level=x"], "--compression-level cannot be `x`", ""),
        (vec!["--no-push", "version"], "the command `version` takes no flags of a build", ""),
    ];
    for (words, message, hint) in rows {
        let failure = refused(&words);
        assert!(failure.message.starts_with(message), "{words:?}: {}", failure.message);
        assert!(failure.hints.concat().contains(hint), "{words:?}: {:?}", failure.hints);
        assert!(!format!("{failure:?}").contains("secret"), "{failure:?}");
        assert_eq!(failure.exit_code, 72);
    }
}

#[test]
fn booleans_as_go_reads_them() {
    for (text, value) in [("1", true), ("T", true), ("True", true), ("0", false), ("f", false), ("FALSE", false)] {
        match parsed(&[&format!("--no-push={text}")]).expect(text) {
            Invocation::Build(args) => assert_eq!(args.output.no_push, value, "{text}"),
            other => panic!("{other:?}"),
        }
    }
    for text in ["yes", "tRUE", "2", "on"] {
        assert!(parsed(&[&format!("--no-push={text}")]).is_err(), "{text}");
    }
}

#[test]
fn a_dry_run_is_a_plan() {
    match parsed(&["--dryrun", "--context=a"]).expect("parse") {
        Invocation::Command(Command::Plan(plan)) => {
            let (format, limits) = (plan.format, &plan.build.limits);
            assert_eq!((format, &*plan.build.input.context, limits.dryrun), (FormatName::Text, "a", true));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_last_of_two_values_counts_and_lists_are_whole() {
    let words = [
        "--context=a",
        "--context=b",
        "-d",
        "x,y",
        "-d=z",
        "--no-push",
        "--no-push=false",
        "--label=a=1",
        "--label=a=2",
    ];
    match parsed(&words).expect("parse") {
        Invocation::Build(args) => {
            assert_eq!(args.input.context, "b");
            assert_eq!(args.output.destination, ["x,y", "z"]);
            assert_eq!(args.image.label, ["a=1", "a=2"]);
            assert!(!args.output.no_push);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn commands() {
    let print = |words: &[&str]| match parsed(words).expect("parse") {
        Invocation::Print(text) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(print(&["--version"]), format!("yadokari {}\n", env!("CARGO_PKG_VERSION")));
    for (words, expected) in [(&["version"] as &[&str], false), (&["version", "--verbose"], true)] {
        match parsed(words).expect("parse") {
            Invocation::Command(Command::Version(asked)) => assert_eq!(asked.verbose, expected),
            other => panic!("{other:?}"),
        }
    }
    let help = print(&["--help"]);
    for text in ["--destination", "DOCKER_CONFIG", "--isolation", "version"] {
        assert!(help.contains(text), "{text} is not in the help");
    }
    assert!(!help.contains("init"), "init is for ourselves");
    assert!(matches!(parsed(&["init"]), Ok(Invocation::Init)));
    command().debug_assert();
}

#[test]
fn json_is_found_without_parsing() {
    let asks = |words: &[&str]| asks_for_json(&words.iter().map(OsString::from).collect::<Vec<_>>());
    assert!(asks(&["--log-format", "json", "--nonsense"]));
    assert!(asks(&["--progress=rawjson"]) && !asks(&["--progress=plain"]));
    assert!(asks(&["--log-format=text", "--log-format=JSON"]));
    assert!(!asks(&["--log-format=json", "--log-format=text"]));
    assert!(!asks(&["--log-format"]));
    assert!(!asks(&["json"]));
}

/// Writes all flags of a build as a page, from what clap knows of them.
fn reference() -> String {
    let mut command = command();
    command.build();
    let mut text = String::from(
        "# All flags of a build\n\nMade from the code: a test holds this page to it. `yadokari COMMAND --help` has those of \
         the other commands.\n",
    );
    let mut headings: Vec<&str> = Vec::new();
    for flag in command.get_arguments() {
        let heading = flag.get_help_heading().unwrap_or("Other");
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    for heading in headings {
        text += &format!("\n## {heading}\n");
        let own = |flag: &&clap::Arg| flag.get_help_heading().unwrap_or("Other") == heading && !flag.is_hide_set();
        for flag in command.get_arguments().filter(own) {
            let Some(long) = flag.get_long() else { continue };
            let short = flag.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
            let value =
                flag.get_value_names().unwrap_or_default().iter().map(|name| name.to_string()).collect::<Vec<_>>();
            let value = if flag.get_action().takes_values() { format!(" {}", value.join(" ")) } else { String::new() };
            text += &format!("\n### {short}`--{long}{value}`\n\n");
            let aliases = flag.get_all_aliases().unwrap_or_default();
            if !aliases.is_empty() {
                text +=
                    &format!("Also {}.\n\n", aliases.iter().map(|a| format!("`--{a}`")).collect::<Vec<_>>().join(", "));
            }
            let help = flag.get_long_help().or(flag.get_help()).map(ToString::to_string).unwrap_or_default();
            text += &format!("{}\n", help.trim().replace('<', "\\<"));
            let values: Vec<String> =
                flag.get_possible_values().iter().map(|v| format!("`{}`", v.get_name())).collect();
            if values.len() > 1 {
                text += &format!("\nIt can be {}.\n", values.join(", "));
            }
            let defaults = flag.get_default_values().iter().map(|value| value.to_string_lossy()).collect::<Vec<_>>();
            if !defaults.is_empty() && !flag.is_hide_default_value_set() {
                text += &format!("\nWithout it: `{}`.\n", defaults.join(" "));
            }
        }
    }
    text + "\n## Environment\n\n| variable | effect |\n|---|---|\n" + &variables()
}

fn variables() -> String {
    let row = |variable: &env::Variable| format!("| `{}` | {} |\n", variable.name, variable.effect);
    env::VARIABLES.iter().map(row).collect()
}

#[test]
fn the_page_of_flags_is_what_the_code_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (page, made) = (root.join("docs/flags.md"), reference());
    if std::fs::read_to_string(&page).unwrap_or_default() != made {
        let new = root.join("target/flags.md");
        std::fs::write(&new, made).expect("it can be written");
        panic!("docs/flags.md is not what the code says: cp {} {}", new.display(), page.display());
    }
}
