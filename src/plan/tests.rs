//! What Dockerfiles mean: steps, environments, configurations and refusals.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::dockerfile;
use crate::oci::ImageConfig;
use crate::request::{
    Compression, ContextSource, DockerfileSource, IsolationChoice, ResultFiles, SnapshotMode, Snapshots,
};

fn request(build_args: &[(&str, &str)], target: Option<&str>) -> BuildRequest {
    let platform: Platform = "linux/amd64".parse().expect("platform");
    BuildRequest {
        context: ContextSource::Directory(PathBuf::from("/context")),
        context_sub_path: None,
        context_max_size: u64::MAX,
        named_contexts: std::collections::BTreeMap::new(),
        dockerfile: DockerfileSource::Path { given: "Dockerfile".into(), absolute: "/Dockerfile".into() },
        target: target.map(str::to_owned),
        build_args: build_args.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        labels: BTreeMap::new(),
        platform: platform.clone(),
        build_platform: platform,
        created: 0,
        epoch: None,
        snapshots: Snapshots::EachStep,
        snapshot_mode: SnapshotMode::Full,
        compression: Compression::Uncompressed,
        ignore_paths: Vec::new(),
        isolation: IsolationChoice::Auto,
        force: false,
        state_directory: PathBuf::from("/state"),
        outputs: Vec::new(),
        check_push: true,
        results: ResultFiles::default(),
    }
}

/// Plans with images that have nothing but the configuration that `configure` gives to the named one.
fn plan_with(
    text: &str,
    request: &BuildRequest,
    configure: impl Fn(&str, &mut ImageConfig),
) -> Result<BuildPlan, Error> {
    let dockerfile = dockerfile::parse(text.as_bytes()).expect("parses");
    let mut bases = Bases::new();
    loop {
        match plan(&dockerfile, &bases, request)? {
            Planned::Complete(plan) => return Ok(plan),
            Planned::Needs(keys) => {
                for key in keys {
                    let mut config = ImageConfig::scratch(request.platform.clone());
                    configure(&key.reference.repository, &mut config);
                    let digest = Digest::of(key.reference.to_string().as_bytes());
                    let image = Image { config, layers: Vec::new() };
                    let base = Base { pinned: key.reference.with_digest(digest.clone()), manifest: digest, image };
                    bases.insert(key, base);
                }
            }
        }
    }
}

fn planned(text: &str, build_args: &[(&str, &str)]) -> BuildPlan {
    plan_with(text, &request(build_args, None), |_, _| {}).expect(text)
}

fn refusal(text: &str, target: Option<&str>) -> String {
    let error = plan_with(text, &request(&[], target), |_, _| {}).expect_err(text);
    let line = error.span.map_or(0, |span| span.first_line);
    format!("{line}: {error}")
}

fn runs(plan: &BuildPlan) -> Vec<&RunStep> {
    let steps = plan.stages.iter().flat_map(|stage| &stage.steps);
    steps.filter_map(|step| if let Action::Run(run) = &step.action { Some(run) } else { None }).collect()
}

fn seen<'a>(run: &'a RunStep, name: &str) -> Option<&'a str> {
    run.environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

#[test]
fn only_stages_that_the_target_needs_are_planned() {
    let text =
        "FROM a AS one\nFROM b AS two\nFROM c AS unused\nFROM scratch\nCOPY --from=One /x /y\nCOPY --from=1 /x /z\n";
    let plan = planned(text, &[]);
    let names: Vec<&str> = plan.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["one", "two", "3"]);
    let Action::Copy(copy) = &plan.stages[2].steps[1].action else { panic!("no copy") };
    assert_eq!(copy.from, CopyFrom::Stage(StageId(1)));
}

#[test]
fn the_later_of_arg_and_env_wins() {
    let text = "FROM scratch\nENV A=env\nARG A=arg\nRUN a\nENV A=env2\nRUN b\n";
    let plan = planned(text, &[]);
    assert_eq!(seen(runs(&plan)[0], "A"), Some("arg"));
    assert_eq!(seen(runs(&plan)[1], "A"), Some("env2"));
    assert_eq!(plan.stages[0].config.env.last().map(String::as_str), Some("A=env2"));
}

#[test]
fn arguments_are_seen_where_they_are_declared() {
    let text = "ARG G=global\nARG H=$G-h\nFROM scratch AS x\nARG G\nARG H\nARG D=default\nARG N\nRUN a\nFROM scratch\nRUN b\nFROM x\nRUN c\n";
    let with_all = text.replace("FROM x\n", "FROM x\nCOPY --from=1 /a /a\n");
    let plan = planned(&with_all, &[("D", "given")]);
    let runs = runs(&plan);
    assert_eq!(seen(runs[0], "H"), Some("global-h"));
    assert_eq!(seen(runs[0], "D"), Some("given"));
    assert_eq!(seen(runs[0], "N"), None);
    assert_eq!(seen(runs[1], "G"), None, "an argument leaked to another stage");
    assert_eq!(seen(runs[2], "G"), Some("global"), "a stage inherits the arguments of its base");
    let history = plan.stages[0].steps.last().and_then(|step| step.created_by.clone());
    assert_eq!(history.as_deref(), Some("RUN |4 G=global H=global-h D=given N= /bin/sh -c a # buildkit"));
}

#[test]
fn platform_arguments_need_a_declaration_in_a_stage_and_none_in_from() {
    let plan = planned("FROM --platform=$BUILDPLATFORM a\nRUN x\nARG TARGETARCH\nARG TARGETOS=plan9\nRUN y\n", &[]);
    let runs = runs(&plan);
    assert_eq!((seen(runs[0], "TARGETARCH"), seen(runs[1], "TARGETARCH")), (None, Some("amd64")));
    assert_eq!(seen(runs[1], "TARGETOS"), Some("plan9"), "a default in the stage wins over the platform");
}

#[test]
fn entrypoint_clears_only_the_inherited_cmd() {
    let image = |_: &str, config: &mut ImageConfig| config.config.cmd = Some(vec!["base".into()]);
    let plan = plan_with("FROM a\nENTRYPOINT [\"x\"]\n", &request(&[], None), image).expect("plans");
    assert_eq!(plan.stages[0].config.cmd, None);
    let plan = plan_with("FROM a\nCMD y\nENTRYPOINT [\"x\"]\n", &request(&[], None), image).expect("plans");
    assert_eq!(plan.stages[0].config.cmd, Some(vec!["/bin/sh".into(), "-c".into(), "y".into()]));
}

#[test]
fn triggers_of_a_base_run_first_and_may_need_further_images() {
    let image = |name: &str, config: &mut ImageConfig| {
        if name.ends_with("parent") {
            config.config.on_build = vec!["ENV T=1".into(), "COPY --from=registry.example.com/tools /t /t".into()];
        }
    };
    let plan = plan_with("FROM registry.example.com/parent\nRUN x\n", &request(&[], None), image).expect("plans");
    assert_eq!(seen(runs(&plan)[0], "T"), Some("1"));
    assert!(plan.stages[0].config.on_build.is_empty());
    let Action::Copy(copy) = &plan.stages[0].steps[1].action else { panic!("no copy") };
    assert!(matches!(&copy.from, CopyFrom::Image(key) if key.reference.repository == "tools"));
}

#[test]
fn triggers_of_a_local_stage_run_in_the_stage_based_on_it() {
    let plan = planned("FROM scratch AS a\nONBUILD RUN t\nRUN own\nFROM a\nRUN last\n", &[]);
    let commands: Vec<&str> = runs(&plan).iter().filter_map(|run| run.argv.last().map(String::as_str)).collect();
    assert_eq!(commands, ["own", "t", "last"]);
    assert_eq!(plan.stages[0].config.on_build, ["RUN t"]);
    assert!(plan.stages[1].config.on_build.is_empty());
}

#[test]
fn working_directories_are_joined_and_cleaned() {
    let plan = planned("FROM scratch\nENV D=x\nWORKDIR /a\nWORKDIR ${D}/../y//z/\nRUN r\nWORKDIR /\n", &[]);
    assert_eq!(runs(&plan)[0].directory, "/a/y/z");
    assert_eq!(plan.stages[0].config.working_dir, "/");
    assert_eq!(plan.stages[0].steps.last().map(|step| &step.action), Some(&Action::Configure));
}

#[test]
fn what_is_not_done_yet_or_wrong_is_refused_with_its_line() {
    for (text, expected) in [
        ("FROM scratch\nRUN --mount=type=cache,target=/x y\n", "2: `RUN --mount=type=cache,target=/x`"),
        ("FROM scratch\nRUN --network=none y\n", "2: `RUN --network=none`"),
        ("FROM scratch\nADD https://registry.example.com/a b\n", "2: ADD of a remote file"),
        ("FROM scratch\nCOPY --chmod=9 a b\n", "2: `--chmod=9` is not octal"),
        ("FROM scratch\nCOPY --from=7 a b\n", "2: there is no stage number 7"),
        ("FROM scratch AS a\nCOPY --from=a a b\n", "2: stage `a` needs itself"),
        ("FROM scratch AS a\nCOPY --from=b a b\nFROM a AS b\n", "2: cannot copy from stage `b`"),
        ("ARG X\nFROM $X\n", "2: the base name `$X` is empty"),
        ("FROM UPPER\n", "1: neither a stage nor an image is named `UPPER`"),
        ("FROM --platform=a/b/c/d x\n", "1: `--platform` of FROM is no platform"),
        ("FROM scratch\nSTOPSIGNAL NOPE\n", "2: `NOPE` is no signal"),
        ("FROM scratch\nEXPOSE 99999\n", "2: `99999` is no port"),
        ("FROM scratch\nENV A=${B?needed}\n", "2: cannot replace the variables in `${B?needed}`"),
    ] {
        let target = if text.contains("AS b") { Some("b") } else { None };
        let refused = refusal(text, target);
        assert!(refused.starts_with(expected), "{text:?}: {refused}");
    }
    assert!(refusal("FROM scratch AS a\n", Some("b")).starts_with("0: target stage `b`"));
}
