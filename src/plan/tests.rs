//! What Dockerfiles mean: steps, environments, configurations and refusals.

use super::*;
use crate::dockerfile::{self, Warning};
use crate::image::Image;
use crate::oci::{Digest, ImageConfig};
use crate::request::RunNetwork;

/// A request for a build that is never carried out.
pub(crate) fn request(build_args: &[(&str, &str)], target: Option<&str>) -> BuildRequest {
    BuildRequest {
        target: target.map(str::to_owned),
        build_args: build_args.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..BuildRequest::plain()
    }
}

/// Plans with images that have nothing but the configuration that `configure` gives to the named one.
pub(crate) fn plan_with(
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
                for (key, _) in keys {
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
    plan.runs().collect()
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
fn what_add_brings_from_elsewhere_is_data() {
    let digest = Digest::of(b"x");
    let text = format!(
        "FROM scratch\nARG HOST=h\nADD --checksum={digest} --unpack https://u:secret@${{HOST}}/d/a.tgz /\n\
         ADD --checksum=A1 --keep-git-dir git@h:a.git#v1:d /b/\nADD --unpack=false git@h:a file /b/\n"
    );
    let plan = planned(&text, &[]);
    let steps = plan.stages[0].steps.iter();
    let copies: Vec<(&CopyStep, &str)> = steps
        .filter_map(|step| match &step.action {
            Action::Copy(copy) => Some((copy, step.created_by.as_deref().unwrap_or_default())),
            _ => None,
        })
        .collect();
    let (file, history) = copies[0];
    let [CopySource::Url { name, source }] = &file.sources[..] else { panic!("{:?}", file.sources) };
    assert_eq!((name.as_str(), source.url.0.as_str()), ("a.tgz", "https://u:secret@h/d/a.tgz"));
    assert_eq!((source.checksum.as_ref(), file.unpack), (Some(&digest), Unpack::Everything));
    assert_eq!(history, "ADD https://h/d/a.tgz / # buildkit");
    assert!(!format!("{file:?}").contains("secret"));
    let [CopySource::Git(git)] = &copies[1].0.sources[..] else { panic!("{:?}", copies[1].0.sources) };
    assert_eq!((git.checksum.as_deref(), git.reference.as_deref()), (Some("a1"), Some("v1")));
    assert_eq!((git.keep_git_directory, git.sub_directory.as_deref()), (true, Some(std::path::Path::new("d"))));
    assert_eq!(copies[1].1, "ADD git@h:a.git#v1:d /b/ # buildkit");
    assert_eq!((copies[2].0.sources.len(), copies[2].0.unpack), (2, Unpack::Nothing));
}

#[test]
fn working_directories_are_joined_and_cleaned() {
    let plan = planned("FROM scratch\nENV D=x\nWORKDIR /a\nWORKDIR ${D}/../y//z/\nRUN r\nWORKDIR /\n", &[]);
    assert_eq!(runs(&plan)[0].directory, "/a/y/z");
    assert_eq!(plan.stages[0].config.working_dir, "/");
    let written = planned("FROM scratch\nWORKDIR /srv/app/\nRUN r\nCOPY a b\nWORKDIR //x/../y\nWORKDIR z/\n", &[]);
    let history: Vec<_> = written.stages[0].steps.iter().filter_map(|step| step.created_by.as_deref()).collect();
    assert_eq!([history[0], history[3], history[4]], ["WORKDIR /srv/app/", "WORKDIR //x/../y", "WORKDIR /y/z"]);
    assert_eq!((&*runs(&written)[0].directory, &*written.stages[0].config.working_dir), ("/srv/app", "/y/z"));
    assert_eq!(plan.stages[0].steps.last().map(|step| &step.action), Some(&Action::Configure));
}

#[test]
fn what_is_not_done_yet_or_wrong_is_refused_with_its_line() {
    for (text, expected) in [
        ("FROM scratch\nRUN --mount=type=cache,target=/ y\n", "2: a mount cannot cover the whole root"),
        ("FROM scratch\nRUN --mount=type=tmpfs y\n", "2: a mount cannot cover the whole root"),
        (
            "FROM scratch\nRUN --mount=type=tmpfs,uid=1,target=/x y\n",
            "2: `--mount=type=tmpfs,uid=1,target=/x`: uid not",
        ),
        ("FROM scratch\nARG T\nRUN --mount=type=$T,target=/x y\n", "3: `--mount=type=$T,target=/x`: unsupported"),
        ("FROM scratch\nRUN --mount=type=ssh,source=/x y\n", "2: a mount of type ssh has no source"),
        ("FROM scratch\nRUN --mount=from=7,target=/x y\n", "2: there is no stage number 7"),
        ("FROM scratch AS a\nRUN --mount=from=b,target=/x y\nFROM a AS b\n", "2: cannot take files from stage `b`"),
        ("FROM scratch\nRUN --security=insecure y\n", "2: `RUN --security=insecure`"),
        ("FROM scratch\nCOPY https://t@files.example.com/a b\n", "2: COPY cannot take `https://files.example.com/a`"),
        ("FROM scratch\nADD --checksum=sha256:0 https://files.example.com/a b\n", "2: `--checksum` of a URL"),
        ("FROM scratch\nADD --checksum=zz https://files.example.com/a.git b\n", "2: the Git repository `https://f"),
        ("FROM scratch\nADD --checksum=a1 a b\n", "2: `--checksum` is for a URL or a Git"),
        ("FROM scratch\nADD --checksum=a1 git@h:a git@h:b c\n", "2: `--checksum` is for one source"),
        ("FROM scratch\nADD --keep-git-dir=false https://h/a.git?keep-git-dir=1 b\n", "2: the Git repository `https:"),
        ("FROM scratch\nADD https://h/a.git?colour=1 b\n", "2: the Git repository `https://h/a.git?colour=1` cannot"),
        ("FROM scratch\nCOPY --chmod=9 a b\n", "2: `--chmod=9` is not octal"),
        ("FROM scratch\nCOPY --from=7 a b\n", "2: there is no stage number 7"),
        ("FROM scratch AS a\nCOPY --from=a a b\n", "2: stage `a` needs itself"),
        ("FROM scratch AS a\nCOPY --from=b a b\nFROM a AS b\n", "2: cannot take files from stage `b`"),
        ("ARG X\nFROM $X\n", "2: the base name `$X` is empty"),
        ("FROM UPPER\n", "1: neither a stage nor an image is named `UPPER`: its name must be in lower case"),
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

/// Plans one RUN in the directory /w and writes its mounts, one a line.
#[test]
fn faults_of_stages_that_are_not_needed_are_refused_as_in_the_others() {
    for (first, line) in [
        ("FROM ${NONE} AS unused", 1),
        ("FROM gcr.io//x AS unused", 1),
        ("FROM --platform=a/b/c/d a AS unused", 1),
        ("FROM --platform=bogus a AS unused", 1),
        ("FROM a AS unused\nCOPY --from=9 /b /", 2),
        ("FROM a AS unused\nCOPY --from=unused /b /", 2),
        ("FROM a AS unused\nRUN --mount=from=later b\nFROM a AS later", 2),
    ] {
        let refused = refusal(&format!("{first}\nFROM c\n"), None);
        assert!(refused.starts_with(&format!("{line}: ")), "{first}: {refused}");
    }
}

fn mounts(flags: &str) -> String {
    let text = format!("FROM scratch AS tools\nFROM scratch\nARG V=v\nWORKDIR /w\nRUN {flags} x\n");
    let plan = planned(&text, &[("BUILDKIT_CACHE_MOUNT_NS", if flags.contains("cache") { "ns" } else { "" })]);
    let lines = runs(&plan)[0].mounts.iter().map(|mount| {
        let target = mount.target.as_deref().unwrap_or("-");
        let owner = |owner: &crate::dockerfile::MountOwner| format!("{:?} {:?} {:?}", owner.mode, owner.uid, owner.gid);
        match &mount.what {
            Mounted::Bind { from, source, read_only } => format!("{target} bind {from:?} {source} {read_only}"),
            Mounted::Cache(CacheMount { id, sharing, from, source, owner: o, read_only }) => {
                format!("{target} cache {id} {sharing:?} {from:?} {source} {} {read_only}", owner(o))
            }
            Mounted::Tmpfs { size } => format!("{target} tmpfs {size:?}"),
            Mounted::Secret { id, required, variable, owner: o } => {
                format!("{target} secret {id} {required} {variable:?} {}", owner(o))
            }
            Mounted::Ssh { id, required, owner: o } => format!("{target} ssh {id} {required} {}", owner(o)),
            Mounted::Script(text) => format!("{target} script {text:?}"),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn mounts_have_their_defaults_and_stand_in_order() {
    for (flags, expected) in [
        ("--mount=target=src", "/w/src bind Context / true"),
        ("--mount=type=bind,from=tools,source=a/../b/,target=/t,rw", "/t bind Stage(StageId(0)) /b false"),
        ("--mount=type=cache,target=/c", "/c cache ns//c Shared None / None None None false"),
        (
            "--mount=type=cache,id=$V,target=c,sharing=locked,mode=700,uid=1,gid=2,ro",
            "/w/c cache ns/v Locked None / Some(448) Some(1) Some(2) true",
        ),
        (
            "--mount=type=cache,target=/c,from=tools,source=d",
            "/c cache ns//c Shared Some(Stage(StageId(0))) /d None None None false",
        ),
        ("--mount=type=tmpfs,target=/t,size=1k", "/t tmpfs Some(1024)"),
        ("--mount=type=secret,id=dir/key", "/run/secrets/key secret dir/key false None None None None"),
        ("--mount=type=secret,target=/etc/key,required", "/etc/key secret key true None None None None"),
        ("--mount=type=secret,id=key,env=KEY", "- secret key false Some(\"KEY\") None None None"),
        (
            "--mount=type=secret,id=key,env=,target=k,mode=0440",
            "/w/k secret key false Some(\"key\") Some(288) None None",
        ),
        (
            "--mount=type=ssh --mount=type=ssh,id=b,target=/a",
            "/a ssh b false None None None\n/run/buildkit/ssh_agent.0 ssh default false None None None",
        ),
        ("--mount=type=tmpfs,target=/b/c --mount=type=tmpfs,target=/b", "/b tmpfs None\n/b/c tmpfs None"),
    ] {
        assert_eq!(mounts(flags), expected, "{flags}");
    }
}

#[test]
fn what_a_run_needs_is_data_and_its_proxies_stand_apart() {
    let text = "FROM scratch AS tools\nFROM registry.example.com/a\nRUN --network=none --mount=type=ssh \
                --mount=from=tools,target=/t --mount=type=cache,target=/c,from=registry.example.com/b <<EOF\n\
                #!/bin/tool\nwork\nEOF\n";
    let plan = planned(text, &[("http_proxy", "p")]);
    let run = runs(&plan)[0];
    assert_eq!(run.argv, ["/bin/sh", "-c", "/dev/pipes/EOF"]);
    assert_eq!(run.network, RunNetwork::None);
    assert_eq!(seen(run, "SSH_AUTH_SOCK"), Some("/run/buildkit/ssh_agent.0"));
    assert_eq!(run.proxies, [("HTTP_PROXY".into(), "p".into()), ("http_proxy".into(), "p".into())]);
    assert_eq!(seen(run, "http_proxy"), None);
    let script = run.mounts.iter().find(|mount| mount.target.as_deref() == Some("/dev/pipes/EOF"));
    assert_eq!(script.map(|mount| &mount.what), Some(&Mounted::Script("#!/bin/tool\nwork\n".to_owned())));
    let sources = plan.stages[1].steps[0].action.sources();
    assert!(
        matches!(sources[..], [CopyFrom::Image(key), CopyFrom::Stage(StageId(0))] if key.reference.repository == "b")
    );
    assert_eq!(
        plan.stages[1].steps[0].created_by.as_deref(),
        Some("RUN /bin/sh -c /dev/pipes/EOF # buildkit"),
        "the script itself is not in the history"
    );
}

/// Returns what was found, as `line Rule: message`.
fn found(text: &str, build_args: &[(&str, &str)], configure: impl Fn(&str, &mut ImageConfig)) -> Vec<String> {
    let plan = plan_with(text, &request(build_args, None), configure).expect(text);
    let line = |warning: &Warning| format!("{} {}: {}", warning.span.first_line, warning.rule.name(), warning.message);
    plan.warnings.iter().map(line).collect()
}

#[test]
fn variables_that_nothing_defines_are_found() {
    for (text, expected) in [
        ("FROM a\nCOPY $x /\n", &["2 UndefinedVar: Usage of undefined variable '$x'"][..]),
        (
            "FROM a\nARG xyz=1\nCOPY ${xy} /\n",
            &["3 UndefinedVar: Usage of undefined variable '$xy' (did you mean $xyz?)"],
        ),
        ("FROM a\nENV PATH=$PAHT:/x\n", &["2 UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?)"]),
        ("FROM a\nARG x\nCOPY $x /\n", &[]),
        // A default does not count, as in BuildKit: the name may be misspelt all the same.
        ("FROM a\nCOPY ${x:-y} /\n", &["2 UndefinedVar: Usage of undefined variable '$x'"]),
        ("FROM a\nCOPY $BASE_HAS /\n", &[]),
        ("FROM a AS b\nARG x\nFROM b\nCOPY $x /\n", &[]),
        ("FROM a\nARG y=$x\n", &["2 UndefinedVar: Usage of undefined variable '$x'"]),
        ("FROM a\nCOPY <<E /\n$x\nE\n", &["2 UndefinedVar: Usage of undefined variable '$x'"]),
        ("FROM a\nRUN --mount=type=cache,target=/c$x b\n", &["2 UndefinedVar: Usage of undefined variable '$x'"]),
        ("FROM a\nRUN echo $x\nCMD [\"$x\"]\n", &[]),
        ("FROM a AS unused\nCOPY $x /\nFROM a\n", &[]),
    ] {
        let configure = |_: &str, config: &mut ImageConfig| config.config.env.push("BASE_HAS=1".to_owned());
        assert_eq!(found(text, &[], configure), expected, "{text:?}");
    }
}

#[test]
fn from_lines_are_judged() {
    for (text, expected) in [
        ("FROM a$x\n", &["1 UndefinedArgInFrom: FROM argument 'x' is not declared"][..]),
        (
            "ARG TAG=1\nFROM a:1$TGA\n",
            &["2 UndefinedArgInFrom: FROM argument 'TGA' is not declared (did you mean TAG?)"],
        ),
        ("ARG x\nFROM a$x\n", &[]),
        (
            "FROM --platform=$TARGETPLATFORM a\n",
            &[
                "1 RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is \
               the default behavior",
            ],
        ),
        ("FROM --platform=$BUILDPLATFORM a\n", &[]),
        (
            "FROM --platform=linux/amd64 a\n",
            &["1 FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\""],
        ),
        ("FROM --platform=linux/amd64 a AS build-amd64\n", &[]),
        (
            "ARG x\nFROM a AS b\nFROM ${x:-a}\nFROM c$other AS unused\nFROM b\n",
            &["4 UndefinedArgInFrom: FROM argument 'other' is not declared"],
        ),
    ] {
        assert_eq!(found(text, &[], |_, _| {}), expected, "{text:?}");
    }
    let text = "ARG x\nFROM a:$x\n";
    let default = ["2 InvalidDefaultArgInFrom: Default value for ARG a:$x results in empty or invalid base image name"];
    assert_eq!(found(text, &[("x", "1")], |_, _| {}), default);
    let error = plan_with("ARG VER\nFROM a:$VRE\n", &request(&[], None), |_, _| {}).expect_err("no name");
    assert_eq!(error.warnings.len(), 2, "what explains the error is told with it: {:?}", error.warnings);
}

#[test]
fn steps_are_judged() {
    for (text, expected) in [
        (
            "FROM a\nCMD b\n",
            &[
                "2 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS \
               signals",
            ][..],
        ),
        ("FROM a\nSHELL [\"/bin/b\"]\nCMD b\nENTRYPOINT c\n", &[]),
        ("FROM shell\nENTRYPOINT c\n", &[]),
        (
            "FROM a\nWORKDIR b\nWORKDIR c\n",
            &["2 WorkdirRelativePath: Relative workdir \"b\" can have unexpected results if the base image changes"],
        ),
        ("FROM a\nWORKDIR /b\nWORKDIR c\n", &[]),
        ("FROM a AS b\nWORKDIR /c\nFROM b\nWORKDIR d\n", &[]),
        (
            "FROM a\nENV API_KEY=1 PUBLIC_KEY=2 KEYS=3\nARG token\n",
            &[
                "2 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV \"API_KEY\")",
                "3 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG \"token\")",
            ],
        ),
        (
            "FROM a\nEXPOSE 80/TCP 1.2.3.4:81:81 82/udp\n",
            &[
                "2 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found \
                 '1.2.3.4:81:81'",
                "2 ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase",
            ],
        ),
        (
            "FROM arm\n",
            &["1 InvalidBaseImagePlatform: Base image arm was pulled with platform \"linux/arm64\", expected \
               \"linux/amd64\" for current build"],
        ),
    ] {
        let configure = |name: &str, config: &mut ImageConfig| match name {
            "library/shell" => config.config.shell = Some(vec!["/bin/x".to_owned()]),
            "library/arm" => config.platform = "linux/arm64".parse().expect("platform"),
            _ => {}
        };
        let mut found = found(text, &[], configure);
        found.sort_unstable();
        assert_eq!(found, expected, "{text:?}");
    }
}

#[test]
fn build_arguments_that_nothing_declares_are_found() {
    let given = [("VERSOIN", "1"), ("HTTP_PROXY", "x"), ("BUILDKIT_INLINE_CACHE", "1"), ("FROM_BASE", "1"), ("a", "1")];
    let configure = |_: &str, config: &mut ImageConfig| config.config.on_build = vec!["ARG FROM_BASE".to_owned()];
    let text = "ARG a\nFROM b\nARG VERSION\n";
    let expected =
        ["0 UnusedBuildArg: --build-arg VERSOIN is declared by no ARG and does nothing (did you mean VERSION?)"];
    assert_eq!(found(text, &given, configure), expected);
}

#[test]
fn an_image_that_was_not_asked_for_is_not_judged() {
    let text = "FROM a\nCOPY $x /\nFROM scratch\nCOPY $y /\n";
    let dockerfile = dockerfile::parse(text.as_bytes()).expect("parses");
    let request = request(&[], None);
    let mut bases = Bases::new();
    let planned = plan_stages(&dockerfile, &bases, &request, Extent::All).expect("plans");
    let Planned::Needs(keys) = planned else { panic!("{planned:?}") };
    for (key, _) in keys {
        let base = Base::unknown(&key.reference, request.platform.clone());
        bases.insert(key, base);
    }
    let planned = plan_stages(&dockerfile, &bases, &request, Extent::All).expect("plans");
    let Planned::Complete(plan) = planned else { panic!("{planned:?}") };
    assert_eq!(plan.stages.len(), 2, "all stages");
    assert_eq!(plan.warnings.iter().map(|warning| warning.span.first_line).collect::<Vec<_>>(), [4]);
}

#[test]
fn runs_count_on_what_comes_before_the_last_of_them() {
    let places = |text: &str| {
        let plan = plan_with(text, &request(&[], None), |name, config| {
            if name.ends_with("volumes") {
                config.config.volumes.insert("/data".to_owned(), serde_json::Value::Null);
            }
        });
        let found = plan.expect(text).destinations_of_runs().into_iter();
        found.map(|found| format!("{} {}", found.span.first_line, found.what)).collect::<Vec<_>>().join(", ")
    };
    for (text, expected) in [
        ("FROM a\nWORKDIR /w\nCOPY x y/\n", ""),
        ("FROM a\nWORKDIR /w\nRUN b\nCOPY x y/\n", "2 WORKDIR /w, 3 the working directory /w"),
        ("FROM a\nADD x /y/../z\nCOPY . /\nRUN b\n", "2 ADD to /z"),
        ("FROM a\nRUN b\nVOLUME /v\n", "3 VOLUME /v"),
        ("FROM volumes\nRUN b\n", "1 VOLUME /data"),
        ("FROM a\nRUN --mount=type=tmpfs,target=/t b\n", "2 the mount at /t"),
        // All of a base is seen, and nothing of a stage that is only copied from.
        ("FROM a AS b\nRUN c\nWORKDIR /late\nFROM b\nRUN d\n", "3 WORKDIR /late, 5 the working directory /late"),
        ("FROM a AS b\nWORKDIR /b\nFROM b AS c\nFROM c\nUSER 0\nWORKDIR /\nRUN d\n", "2 WORKDIR /b"),
        ("FROM a AS b\nWORKDIR /b\nFROM a\nCOPY --from=b /b /c\nRUN d\n", "4 COPY to /c"),
    ] {
        assert_eq!(places(text), expected, "{text}");
    }
}

#[test]
fn values_made_of_values_have_a_limit() {
    let ten = |line: &str| format!("FROM scratch\nENV A=0123456789\n{}", line.repeat(13));
    let said = refusal(&ten("ENV A=$A$A$A$A$A$A$A$A$A$A\n"), None);
    assert!(said.starts_with("8: cannot replace the variables") && said.contains("longer than 1 MiB"), "{said}");
    let said = refusal(&ten("ARG A=${A}${A}${A}${A}${A}${A}${A}${A}${A}${A}\n"), None);
    assert!(said.starts_with("8: ") && said.contains("longer than 1 MiB"), "{said}");
    // Each is short enough; together they are not.
    let many: String = (0..100).map(|number| format!("ENV B{number}=$A\n")).collect();
    let text = format!("FROM scratch\nENV A={}\n{many}", "x".repeat(1 << 20));
    let text = text.replacen(&"x".repeat(1 << 20), "${Y:-$X$X$X$X$X$X$X$X$X$X$X$X$X$X$X$X}", 1);
    let text = text.replacen("ENV A", &format!("ENV X={}\nENV A", "x".repeat(60_000)), 1);
    let said = refusal(&text, None);
    assert!(said.contains("come to more than 64 MiB"), "{said}");
    // As long as written is always allowed.
    let lines = format!("{}\\\n", "y".repeat(65_000)).repeat(20);
    let plan = planned(&format!("FROM scratch\nENV LONG={lines}\n"), &[]);
    assert!(plan.stages[0].config.env.iter().any(|variable| variable.len() > 1_200_000));
}

#[test]
fn a_chain_of_many_stages_needs_no_stack() {
    let chain: String = (1..5000).map(|number| format!("FROM s{} AS s{number}\n", number - 1)).collect();
    let plan = planned(&format!("FROM scratch AS s0\n{chain}"), &[]);
    assert_eq!((plan.stages.len(), &plan.stages[4999].base), (5000, &StageBase::Stage(StageId(4998))));
}
