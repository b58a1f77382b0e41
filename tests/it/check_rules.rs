//! Each rule of `yadokari check` on one Dockerfile that breaks it and on one that does not, and what code hosts ask of
//! SARIF.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::support::bases;
use crate::support::pod::EXECUTOR;
use crate::support::process::{self, SHORT};
use crate::support::source::source;

/// Rule, what breaks it, what does not.
const ROWS: [(&str, &str, &str); 26] = [
    ("ConsistentInstructionCasing", "FROM scratch\nENV a=b\nenv c=d\n", "from scratch\nenv a=b\n"),
    ("CopyIgnoredFile", "FROM scratch\nCOPY ignored /\n", "FROM scratch\nCOPY file /\n"),
    ("CopyMissingFile", "FROM scratch\nCOPY flie /\n", "FROM scratch\nCOPY file /\n"),
    ("DuplicateStageName", "FROM scratch AS x\nFROM scratch AS x\n", "FROM scratch AS x\nFROM scratch AS y\n"),
    ("ExposeInvalidFormat", "FROM scratch\nEXPOSE 127.0.0.1:80:80\n", "FROM scratch\nEXPOSE 80 90-91/udp\n"),
    ("ExposeProtoCasing", "FROM scratch\nEXPOSE 80/TCP\n", "FROM scratch\nEXPOSE 80/tcp\n"),
    ("FromAsCasing", "FROM scratch as x\n", "from scratch as x\n"),
    (
        "FromPlatformFlagConstDisallowed",
        "FROM --platform=linux/amd64 $BASE AS x\n",
        "FROM --platform=$BUILDPLATFORM $BASE\n",
    ),
    ("InvalidBaseImagePlatform", "FROM --platform=linux/arm64 $BASE\n", "FROM $BASE\n"),
    ("InvalidDefaultArgInFrom", "ARG NAME\nFROM $NAME\n", "ARG NAME=scratch\nFROM $NAME\n"),
    (
        "InvalidDefinitionDescription",
        "# check=experimental=all\n\n# Builds it.\nFROM scratch AS x\n",
        "# check=experimental=all\n\n# x builds it.\nFROM scratch AS x\n",
    ),
    ("InvalidJsonForm", "FROM scratch\nCMD ['a']\n", "FROM scratch\nCMD [\"a\"]\n"),
    ("JSONArgsRecommended", "FROM scratch\nENTRYPOINT a b\n", "FROM scratch\nSHELL [\"a\"]\nENTRYPOINT a b\n"),
    ("LegacyKeyValueFormat", "FROM scratch\nLABEL a b\n", "FROM scratch\nLABEL a=b\n"),
    ("MaintainerDeprecated", "FROM scratch\nMAINTAINER a\n", "FROM scratch\nLABEL maintainer=a\n"),
    (
        "MultipleInstructionsDisallowed",
        "FROM scratch\nCMD [\"a\"]\nCMD [\"b\"]\n",
        "FROM scratch\nCMD [\"a\"]\nENTRYPOINT [\"b\"]\n",
    ),
    ("NoEmptyContinuation", "FROM scratch\nENV a=b \\\n\n    c=d\n", "FROM scratch\nENV a=b \\\n    # why\n    c=d\n"),
    (
        "RedundantTargetPlatform",
        "FROM --platform=$TARGETPLATFORM scratch\n",
        "FROM --platform=$BUILDPLATFORM scratch\n",
    ),
    ("ReservedStageName", "FROM scratch AS context\n", "FROM scratch AS contexts\n"),
    ("SecretsUsedInArgOrEnv", "FROM scratch\nARG API_TOKEN\n", "FROM scratch\nENV PUBLIC_KEY=a MONKEY=b\n"),
    ("StageNameCasing", "FROM scratch AS Big\n", "FROM scratch AS big\n"),
    ("UndefinedArgInFrom", "ARG A\nFROM ${B:-scratch}\n", "ARG B\nFROM ${B:-scratch}\n"),
    ("UndefinedVar", "FROM scratch\nCOPY $x /\n", "FROM scratch\nARG x=file\nCOPY $x /\n"),
    ("UnknownFrontend", "# syntax=tonistiigi/bob:1\nFROM scratch\n", "# syntax=docker/dockerfile:1\nFROM scratch\n"),
    ("UnusedBuildArg", "FROM scratch\n", "ARG GIVEN\nFROM scratch\n"),
    ("WorkdirRelativePath", "FROM scratch\nWORKDIR a\n", "FROM scratch\nWORKDIR /a\nWORKDIR b\n"),
];

/// What the format alone cannot show a rule of: bytes that are no text, and a Dockerfile that cannot be built.
const ELSEWHERE: [&str; 2] = ["InvalidUtf8", "InvalidDockerfile"];

/// Returns what `check` says of a Dockerfile, as SARIF.
fn check(dockerfile: &str) -> Value {
    let dockerfile = dockerfile.replace("$BASE", &bases::base("BASE").reference);
    let source = source(&dockerfile, &[("file", ""), ("ignored", ""), (".dockerignore", "ignored\n")]);
    let state = source.directory("state").display().to_string();
    let mut run = Command::new(EXECUTOR);
    run.current_dir(source.path()).env_clear().env("HOME", source.path());
    run.args(["check", "--context=context", "--insecure-pull", "--format=sarif"]);
    run.args(["--build-arg=GIVEN=1", &format!("--state-dir={state}")]);
    let stdout = process::run(&mut run, SHORT).stdout;
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {dockerfile}\n{stdout}"))
}

fn found(sarif: &Value) -> BTreeSet<String> {
    let results = sarif["runs"][0]["results"].as_array().expect("a list");
    results.iter().map(|result| result["ruleId"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn each_rule_is_found_where_it_is_broken_and_nowhere_else() {
    let described = check("FROM scratch\n");
    let rules = described["runs"][0]["tool"]["driver"]["rules"].as_array().expect("a list");
    let rules: BTreeSet<&str> = rules.iter().map(|rule| rule["id"].as_str().expect("a name")).collect();
    let rows: BTreeSet<&str> = ROWS.iter().map(|row| row.0).chain(ELSEWHERE).collect();
    assert_eq!(rows, rules, "a row for each rule");
    for (rule, broken, kept) in ROWS {
        assert!(found(&check(broken)).contains(rule), "{rule} is not found in\n{broken}");
        assert!(!found(&check(kept)).contains(rule), "{rule} is found in\n{kept}");
    }
}

/// What the standard and <https://docs.github.com/en/code-security/reference/code-scanning/sarif-support-for-code-scanning>
/// ask for.
#[test]
fn sarif_has_what_code_scanning_asks_for() {
    for dockerfile in [
        "FROM scratch as x\nENV a b\nCOPY $x flie /\nEXPOSE 80/TCP\n",
        "FROM scratch\nCOPPY a b\n",
        "FROM none-such-stage-or-image:\n",
        "",
    ] {
        let document = check(dockerfile);
        assert_eq!(document["version"], "2.1.0");
        assert!(document["$schema"].as_str().is_some_and(|url| url.ends_with("sarif-schema-2.1.0.json")));
        let run = &document["runs"][0];
        let driver = &run["tool"]["driver"];
        assert_eq!(driver["name"], "yadokari");
        let rules = driver["rules"].as_array().expect("a list");
        for rule in rules {
            for field in ["shortDescription", "fullDescription", "help"] {
                let text = rule[field]["text"].as_str().unwrap_or_default();
                assert!(!text.is_empty() && text.len() < 1024, "{field}: {rule:#}");
            }
        }
        let results = run["results"].as_array().expect("a list");
        assert!(!results.is_empty(), "{dockerfile:?}");
        for result in results {
            let rule = usize::try_from(result["ruleIndex"].as_u64().expect("a number")).expect("small");
            assert_eq!(rules[rule]["id"], result["ruleId"]);
            assert!(["warning", "error"].contains(&result["level"].as_str().unwrap_or_default()), "{result:#}");
            assert!(!result["message"]["text"].as_str().unwrap_or_default().is_empty(), "{result:#}");
            let place = &result["locations"][0]["physicalLocation"];
            assert_eq!(place["artifactLocation"]["uri"], "Dockerfile");
            let [line, column, end_line, end_column] =
                ["startLine", "startColumn", "endLine", "endColumn"].map(|field| place["region"][field].as_u64());
            assert!(line >= Some(1) && column >= Some(1), "{result:#}");
            assert!((end_line, end_column) > (line, column), "{result:#}");
        }
    }
}
