//! Our own images, built by the executor from the Containerfile, and the steps of Tekton and Argo run in them as
//! the engine would, under the rights that clusters give.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use crate::debian;
use crate::pipelines_files::python;
use crate::support::bases;
use crate::support::executor::{Build, Executor};
use crate::support::git;
use crate::support::isolation::Isolation;
use crate::support::listing::Listing;
use crate::support::pod::{EXECUTOR, Pod, podman};
use crate::support::process::{self, LONG, SHORT};
use crate::support::registry::{self, Registry};
use crate::support::scratch::Scratch;
use crate::support::skips;
use crate::support::source::source;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Builds one of the images; it is pushed to the registry that all cases share.
fn built(target: &str) -> Build {
    built_with(target, &[])
}

fn built_with(target: &str, arguments: &[String]) -> Build {
    let scratch = Scratch::new("images");
    let (context, host) = (scratch.join("context"), "amd64");
    let script = Path::new(ROOT).join("examples/image-context.sh");
    process::run(Command::new("sh").arg(script).arg(&context).arg(format!("{host}={EXECUTOR}")), SHORT).success();
    scratch.file("Dockerfile", std::fs::read(Path::new(ROOT).join("Containerfile")).expect("it is there"));
    let mut executor = Executor::new(Isolation::Namespace, scratch.path());
    executor.push_plain(registry::shared(), &format!("yadokari:{target}")).output("--oci-layout-path", "layout");
    executor.add(&[&format!("--target={target}"), &format!("--build-arg=BUSYBOX={}", bases::base("BASE").reference)]);
    executor.add(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    executor.run().expect(0)
}

/// Returns the reference of one of the images, after building it when this is its first use.
pub(crate) fn image(target: &'static str) -> String {
    static BUILT: [OnceLock<()>; 2] = [OnceLock::new(), OnceLock::new()];
    BUILT[usize::from(target == "debug")].get_or_init(|| _ = built(target));
    registry::shared().repository(&format!("yadokari:{target}"))
}

#[test]
fn the_executor_image_is_as_kaniko_s() {
    if !Isolation::Namespace.allowed("images: executor") {
        return;
    }
    let build = built("executor");
    let image = build.image();
    image.verify();
    let config = image.runtime_config();
    assert_eq!(config["Entrypoint"], serde_json::json!(["/kaniko/executor"]));
    assert_eq!((&config["WorkingDir"], &config["User"]), (&"/workspace".into(), &"0".into()));
    let environment = config["Env"].to_string();
    for expected in ["DOCKER_CONFIG=/kaniko/.docker/", "SSL_CERT_DIR=/kaniko/ssl/certs", "PATH=/usr/local/bin:/kaniko"]
    {
        assert!(environment.contains(expected), "{environment}");
    }
    let listing = Listing::of(&image);
    let text = |path: &str| listing.0.get(path).map(|line| line.text.as_str()).unwrap_or_default();
    assert!(text("/kaniko").starts_with("dir 0777 0:0"), "{}", text("/kaniko"));
    assert!(text("/kaniko/.docker").starts_with("dir 0777"), "{}", text("/kaniko/.docker"));
    assert!(text("/kaniko/executor").starts_with("file 0755 0:0"), "{}", text("/kaniko/executor"));
    assert!(text("/kaniko/warmer").contains("executor"), "{}", text("/kaniko/warmer"));
    assert!(text("/kaniko/ssl/certs/ca-certificates.crt").starts_with("file 0644"));
    // Whoever the pod says must be able to read whom it trusts.
    for directory in ["/kaniko/ssl", "/kaniko/ssl/certs"] {
        assert!(text(directory).starts_with("dir 0777"), "{directory}: {}", text(directory));
    }
    assert!(text("/etc").starts_with("dir 0777 0:0"), "{}", text("/etc"));
    assert_eq!(text("/etc/nsswitch.conf"), "file 0644 0:0 \"hosts: files dns\\n\"");
    assert!(!listing.0.contains_key("/bin/sh") && !listing.0.contains_key("/busybox"), "it has a shell");
}

#[test]
fn the_debug_image_stays_alive_as_ci_systems_start_it() {
    if !Isolation::Container.allowed("images: debug") {
        return;
    }
    let image = image("debug");
    let forms: [(&str, &[&str]); 4] =
        [("cat", &[]), ("sleep", &["99"]), ("tail", &["-f", "/dev/null"]), ("/busybox/sh", &["-c", "sleep 99"])];
    for (entrypoint, arguments) in forms {
        let mut pod = Pod::plain();
        // As with a terminal, standard input stays open.
        pod.add(&[&format!("--entrypoint={entrypoint}"), "--tty"]);
        let running = pod.start_image(&image, arguments);
        assert!(process::wait_until(SHORT, || pod.is_running()), "{entrypoint} did not start");
        std::thread::sleep(Duration::from_secs(1));
        pod.signal("KILL");
        assert_eq!(running.wait(SHORT).code, 137, "{entrypoint} did not stay");
    }
    // GitLab pipes its script into a shell.
    let script = "echo 'command -v executor; /kaniko/executor version; echo still here'";
    let mut shell = Command::new("sh");
    let run = format!(
        "{:?} run --rm -i --ulimit=nofile=4096:4096 --ulimit=nproc=1024:1024 --entrypoint= {image} sh",
        podman()
    )
    .replace('"', "'");
    let printed = process::run(shell.args(["-c", &format!("{script} | ({run})")]), SHORT).success();
    assert!(printed.contains("/kaniko/executor") && printed.ends_with("still here\n"), "{printed}");
}

#[test]
fn two_builds_and_a_shell_in_one_debug_container() {
    if !Isolation::Container.allowed("images: twice") {
        return;
    }
    let (registry, source) =
        (Registry::plain(), source("FROM $BASE\nRUN echo ran > /ran && rm -rf /busybox /bin/sh\n", &[]));
    for isolation in ["auto", "container"] {
        let mut pod = Pod::plain();
        pod.mount(source.path(), "/source");
        pod.add(&["--entrypoint=/busybox/sh"]);
        let flags = format!(
            "--isolation={isolation} --context=/source/context --dockerfile=/source/Dockerfile --reproducible --insecure-registry={} --insecure-registry={}",
            registry.address,
            registry::shared().address
        );
        // What is known of base layers is kept for the next build, in the executor's own directory.
        let list = "find / -xdev -not -path '/proc/*' -not -path '/sys/*' -not -path '/kaniko/yadokari-*' | sort";
        let script = format!(
            "{list} > /dev/shm/before && executor {flags} --destination={0}/app:1 && sh -c 'echo still here' && \
         executor {flags} --destination={0}/app:2 && {list} > /dev/shm/after && diff /dev/shm/before /dev/shm/after",
            registry.address
        );
        let finished = pod.start_image(&image("debug"), &["-c", &script]).wait(LONG);
        assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
        assert_eq!(finished.stdout, "still here\n");
        assert_eq!(registry.digest("app:1"), registry.digest("app:2"));
        assert!(registry.digest("app:1").is_some());
    }
}

#[test]
fn three_builds_at_a_time_in_one_debug_container() {
    if !Isolation::Container.allowed("images: three at a time") {
        return;
    }
    let (registry, source) = (Registry::plain(), source("FROM $BASE\nCOPY file /file\n", &[("file", "x\n")]));
    let mut pod = Pod::plain();
    pod.mount(source.path(), "/source");
    pod.add(&["--entrypoint=/busybox/sh"]);
    let insecure =
        format!("--insecure-registry={} --insecure-registry={}", registry.address, registry::shared().address);
    for isolation in ["auto", "container"] {
        let build = format!(
            "executor --isolation={isolation} --context=/source/context --dockerfile=/source/Dockerfile --reproducible {insecure} \
         --destination={}/app:$number & pids=\"$pids $!\"",
            registry.address
        );
        let script = format!("for number in 1 2 3; do {build}; done; for pid in $pids; do wait $pid || exit 1; done");
        let finished = pod.start_image(&image("debug"), &["-c", &script]).wait(LONG);
        assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
        let digests = ["app:1", "app:2", "app:3"].map(|name| registry.digest(name).expect("it was pushed"));
        assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
    }
}

/// Where Tekton has the results of a step that is called `build`.
const STEP_RESULTS: &str = "/tekton/steps/step-build/results";

/// A step of an engine, with all variables in it replaced.
pub(crate) struct Step {
    pub(crate) command: Vec<String>,
    pub(crate) arguments: Vec<String>,
    pub(crate) directory: Option<String>,
    pub(crate) security: Value,
    pub(crate) mounts: Vec<String>,
    pub(crate) environment: Vec<String>,
}

pub(crate) fn document(file: &str) -> Option<Value> {
    let python = python(file)?;
    let script = Path::new(ROOT).join("tests/pipelines/check.py");
    let text = process::run(Command::new(python).arg(script).arg("--json").arg(Path::new(ROOT).join(file)), SHORT);
    let documents: Value = serde_json::from_str(&text.success()).expect("JSON");
    Some(documents[0].clone())
}

fn words(list: &Value, values: &BTreeMap<String, Vec<String>>, marks: (&str, &str)) -> Vec<String> {
    let mut words = Vec::new();
    for word in list.as_array().into_iter().flatten().filter_map(Value::as_str) {
        // A whole array takes the place of its word, and nothing that of an empty one.
        let whole = values.iter().find(|(name, _)| word == format!("{}{name}[*]{}", marks.0, marks.1));
        if let Some((_, list)) = whole {
            words.extend(list.iter().cloned());
            continue;
        }
        let replaced = values.iter().fold(word.to_owned(), |word, (name, value)| {
            word.replace(&format!("{}{name}{}", marks.0, marks.1), &value.join(" "))
        });
        assert!(!replaced.contains(marks.0), "{replaced} has a variable that nobody sets");
        words.push(replaced);
    }
    words
}

pub(crate) fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    value.as_str().map(str::to_owned).into_iter().chain(list.filter_map(Value::as_str).map(str::to_owned)).collect()
}

/// Reads the one step of a Task, or a StepAction, with these parameters.
fn tekton_step(file: &str, given: &[(&str, &[&str])]) -> Option<Step> {
    let spec = document(file)?["spec"].take();
    let mut values = BTreeMap::new();
    for parameter in spec["params"].as_array().expect("a Task has parameters") {
        let name = parameter["name"].as_str().expect("a name");
        let given = given.iter().find(|(other, _)| *other == name);
        let value = given.map(|(_, value)| value.iter().map(|&text| text.to_owned()).collect());
        values.insert(format!("params.{name}"), value.unwrap_or_else(|| texts(&parameter["default"])));
    }
    // A workspace that is optional and not bound has an empty path.
    for workspace in spec["workspaces"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()) {
        let path = if workspace == "source" { "/workspace/source" } else { "" };
        values.insert(format!("workspaces.{workspace}.path"), vec![path.to_owned()]);
    }
    let marks = ("$(", ")");
    let step = if spec["steps"].is_array() { &spec["steps"][0] } else { &spec };
    for result in spec["results"].as_array().into_iter().flatten().filter_map(|result| result["name"].as_str()) {
        values.insert(format!("step.results.{result}.path"), vec![format!("{STEP_RESULTS}/{result}")]);
    }
    let environment = step["env"].as_array().into_iter().flatten().map(|variable| {
        let value = words(&Value::Array(vec![variable["value"].clone()]), &values, marks).concat();
        format!("{}={value}", variable["name"].as_str().expect("a name"))
    });
    let environment = environment.collect();
    Some(Step {
        environment,
        command: words(&step["command"], &values, marks),
        arguments: words(&step["args"], &values, marks),
        directory: step["workingDir"].as_str().map(|_| "/workspace/source".to_owned()),
        security: step["securityContext"].clone(),
        mounts: texts_of(&step["volumeMounts"], "mountPath"),
    })
}

/// Reads a template of the WorkflowTemplate, with these parameters.
fn argo_step(template: &str, given: &[(&str, &str)]) -> Option<Step> {
    let document = document("argo/workflowtemplate.yaml")?;
    let mut templates = document["spec"]["templates"].as_array().expect("templates").iter();
    let template = templates.find(|found| found["name"] == template).expect("it is there");
    let mut values = BTreeMap::new();
    for parameter in template["inputs"]["parameters"].as_array().expect("parameters") {
        let name = parameter["name"].as_str().expect("a name");
        let given = given.iter().find(|(other, _)| *other == name);
        let value = given.map(|(_, value)| vec![(*value).to_owned()]).unwrap_or_else(|| texts(&parameter["default"]));
        values.insert(format!("inputs.parameters.{name}"), value);
    }
    let container = &template["container"];
    let marks = ("{{", "}}");
    // What comes of secrets is not there in these tests: all of them are optional.
    let variables = container["env"].as_array().into_iter().flatten();
    let environment = variables.filter_map(|one| Some(format!("{}={}", one["name"].as_str()?, one["value"].as_str()?)));
    Some(Step {
        environment: environment.collect(),
        command: words(&container["command"], &values, marks),
        arguments: words(&container["args"], &values, marks),
        directory: None,
        security: container["securityContext"].clone(),
        mounts: texts_of(&container["volumeMounts"], "mountPath"),
    })
}

/// Makes the file of further flags, as an engine puts it where a template has a raw artifact.
fn plain_registries(registry: &Registry) -> Scratch {
    let scratch = Scratch::new("argo-arguments");
    let flags =
        [&registry.address, &registry::shared().address].map(|address| format!("--insecure-registry={address}"));
    scratch.file("arguments", flags.join("\n") + "\n");
    scratch
}

fn texts_of(list: &Value, field: &str) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|item| item[field].as_str()).map(str::to_owned).collect()
}

impl Step {
    /// Runs the step in `pod` with its own security context, and these directories where engines have theirs.
    pub(crate) fn run(&self, mut pod: Pod, volumes: &[(&Path, &str, bool)]) -> process::Finished {
        for (outside, inside, writable) in volumes {
            if *writable {
                std::fs::set_permissions(outside, std::fs::Permissions::from_mode(0o777)).expect("ours");
                pod.mount_writable(outside, inside);
            } else {
                pod.mount(outside, inside);
            }
        }
        let mounted = |path: &str| volumes.iter().any(|(_, inside, _)| *inside == path);
        for path in self.mounts.iter().filter(|path| !mounted(path)) {
            pod.add(&[&format!("--tmpfs={path}:mode=0777")]);
        }
        if let Some(directory) = &self.directory {
            pod.add(&[&format!("--workdir={directory}")]);
        }
        if self.security["readOnlyRootFilesystem"] == true {
            pod.add(&["--read-only", "--read-only-tmpfs=false"]);
        }
        if self.security["allowPrivilegeEscalation"] == false {
            pod.add(&["--security-opt=no-new-privileges"]);
        }
        if self.security["capabilities"]["drop"][0] == "ALL" {
            pod.add(&["--cap-drop=ALL"]);
        }
        for variable in &self.environment {
            pod.add(&[&format!("--env={variable}")]);
        }
        pod.add(&[&format!("--entrypoint={}", self.command[0])]);
        let arguments: Vec<&str> = self.command[1..].iter().chain(&self.arguments).map(String::as_str).collect();
        pod.start_image(&image("executor"), &arguments).wait(LONG)
    }

    pub(crate) fn user(&self) -> String {
        // Where the step leaves it open, the pod says it: the samples do, and OpenShift does by itself.
        let other = if self.security["runAsNonRoot"] == true { 65532 } else { 0 };
        let id = |field: &str| self.security[field].as_u64().unwrap_or(other);
        format!("--user={}:{}", id("runAsUser"), id("runAsGroup"))
    }
}

/// Returns a pod with options, as a test of one of the five kinds of pods has it.
fn pod(mut pod: Pod, options: &[&str]) -> Pod {
    pod.add(options)
}

pub(crate) const IN_USER_NAMESPACE: [&str; 2] = ["--uidmap=0:1000000:65536", "--gidmap=0:1000000:65536"];

#[test]
fn the_step_of_the_task_runs_in_five_kinds_of_pods() {
    if !Isolation::Container.allowed("pipelines: task") {
        return;
    }
    let (task, restricted) =
        ("tekton/task/yadokari/0.1/yadokari.yaml", "tekton/task/yadokari-restricted/0.1/yadokari-restricted.yaml");
    let registry = Registry::plain();
    let with_run = source(
        "FROM $BASE\nARG A\nCOPY file /file\nRUN test -e /file && test \"$A\" = 'b c' && echo ran > /ran\n",
        &[("file", "x\n")],
    );
    let without = source("FROM $BASE\nCOPY --chown=7:7 file /file\nUSER 7\n", &[("file", "x\n")]);
    let rows = [
        ("plain", task, &with_run, Pod::unconfined(), &[][..], "namespace"),
        ("runtime-default", task, &with_run, Pod::plain(), &[], "mediated"),
        ("user-namespace", task, &with_run, Pod::plain(), &IN_USER_NAMESPACE, "mediated"),
        ("restricted", restricted, &with_run, Pod::strict(), &[], "mediated"),
        ("random-user", restricted, &with_run, Pod::strict(), &["--user=1000660000:0"], "mediated"),
        ("without-run", restricted, &without, Pod::strict(), &[], "mediated"),
    ];
    for (name, file, source, kind, options, isolation) in rows {
        let insecure =
            [&registry.address, &registry::shared().address].map(|address| format!("--insecure-registry={address}"));
        let image = registry.repository(&format!("task:{name}"));
        let parameters: [(&str, &[&str]); 6] = [
            ("IMAGE", &[&image]),
            ("BUILD_ARGS", &["A=b c"]),
            ("LABELS", &["one=1", "two=2 3"]),
            ("CONTEXT", &["context"]),
            ("DOCKERFILE", &["./Dockerfile"]),
            ("EXTRA_ARGS", &[&insecure[0], &insecure[1], "--label=with=a blank"]),
        ];
        let Some(step) = tekton_step(file, &parameters) else { return };
        let results = Scratch::new("tekton");
        results.file("IMAGE_DIGEST", "sha256:of-an-earlier-attempt");
        let user = step.user();
        let mut all = vec![user.as_str()];
        all.extend(options);
        let volumes = [(source.path(), "/workspace/source", false), (results.path(), "/tekton/results", true)];
        let finished = step.run(pod(kind, &all), &volumes);
        assert_eq!(finished.code, 0, "{name}:\n{}{}", finished.stdout, finished.stderr);
        let taken = format!("isolation {isolation}: ");
        assert!(finished.stderr.contains(&taken), "{name}: {}", finished.stderr);
        let read = |result: &str| std::fs::read_to_string(results.join(result)).ok();
        let digest = registry.digest(&format!("task:{name}")).expect("it was pushed");
        assert_eq!(read("IMAGE_DIGEST"), Some(digest.clone()), "{name}");
        assert_eq!(read("IMAGE_URL").as_deref(), Some(image.as_str()), "{name}");
        let reference = format!("{}@{digest}", registry.repository("task"));
        assert_eq!(read("IMAGE_REF").as_deref(), Some(&*reference), "{name}");
        let output =
            format!(r#"{{"uri":"{}","digest":"{digest}","isBuildArtifact":"true"}}"#, registry.repository("task"));
        assert_eq!(read("IMAGE_ARTIFACT_OUTPUTS"), Some(output), "{name}");
        assert!(
            read("BASE_IMAGE_ARTIFACT_INPUTS").is_some_and(|text| text.contains("/base/base\",\"digest\":\"sha256:"))
        );
        assert_eq!(read("ERROR_KIND"), None, "{name}");
    }
}

#[test]
fn extra_arguments_go_before_the_task_s_defaults_and_not_before_its_own_three() {
    if !Isolation::Container.allowed("pipelines: extra arguments") {
        return;
    }
    let registry = Registry::plain();
    let source = source("FROM scratch\nCOPY file /file\n", &[("file", "x\n")]);
    let run = |file: &str, tag: &str, extra: &[&str]| {
        let insecure = format!("--insecure-registry={}", registry.address);
        let image = format!("{}/extra:{tag}", registry.address);
        let extra: Vec<&str> = [&[&*insecure, ""], extra].concat();
        let parameters: [(&str, &[&str]); 4] =
            [("IMAGE", &[&image]), ("CONTEXT", &["/context"]), ("DOCKERFILE", &["Dockerfile"]), ("EXTRA_ARGS", &extra)];
        let step = tekton_step(file, &parameters)?;
        let results = Scratch::new("tekton");
        let user = step.user();
        let volumes = [(source.path(), "/workspace/source", false), (results.path(), "/tekton/results", true)];
        let finished = step.run(pod(Pod::strict(), &[&user]), &volumes);
        assert_eq!(finished.code, 0, "{tag}:\n{}{}", finished.stdout, finished.stderr);
        Some((results, finished.stderr))
    };
    let file = "tekton/task/yadokari-restricted/0.1/yadokari-restricted.yaml";
    let Some((results, log)) = run(file, "not-pushed", &["--no-push"]) else { return };
    assert_eq!(registry.digest("extra:not-pushed"), None, "it was pushed all the same");
    assert!(!results.join("IMAGE_URL").exists());
    assert!(log.contains("--no-push is given more than once, as `false` and then as `true`"), "{log}");
    let arm = run(file, "arm64", &["--custom-platform=linux/arm64", "--dockerfile=/none", "--context=/none"]);
    let Some((_, log)) = arm else { return };
    assert!(log.contains("--context is given more than once, as `/none` and then as `/context`"), "{log}");
    let inspected = Command::new("skopeo")
        .args(["inspect", "--tls-verify=false", &format!("docker://{}", registry.repository("extra:arm64"))])
        .output()
        .expect("skopeo runs");
    let inspected: Value = serde_json::from_slice(&inspected.stdout).expect("JSON");
    assert_eq!(inspected["Architecture"], "arm64");
    // IMAGE has no tag here, and another destination comes before it.
    let other = format!("--destination={}/other:1", registry.address);
    let Some(step) = tekton_step(file, &[("IMAGE", &["registry/app"]), ("EXTRA_ARGS", &[&other])]) else { return };
    let position = |word: &str| step.arguments.iter().position(|argument| argument == word).expect(word);
    assert!(position(&other) < position("--destination=registry/app"));
    let Some((results, _)) = run(file, "named", &[&other]) else { return };
    let read = |name: &str| std::fs::read_to_string(results.join(name)).expect(name);
    let digest = registry.digest("extra:named").expect("it was pushed");
    assert_eq!(read("IMAGE_URL"), registry.repository("extra:named"));
    assert_eq!(read("IMAGE_REF"), format!("{}@{digest}", registry.repository("extra")));
    assert_eq!(read("IMAGES").lines().count(), 2);
}

#[test]
fn the_containers_of_the_argo_templates_run() {
    if !Isolation::Container.allowed("pipelines: argo") {
        return;
    }
    let registry = Registry::plain();
    let context = Scratch::new("argo-context");
    let base = &bases::base("BASE").reference;
    let mut references = Vec::new();
    for (template, platform, kind, last) in [
        ("build", "linux/amd64", Pod::plain(), "RUN true\n"),
        ("build-restricted", "linux/amd64", Pod::strict(), "RUN true\n"),
        ("build-restricted", "linux/arm64", Pod::strict(), ""),
    ] {
        context.file("Dockerfile", format!("FROM scratch\nCOPY Dockerfile /\n{}", last.replace("RUN", "LABEL run=")));
        if !last.is_empty() {
            context.file("Dockerfile", format!("FROM {base}\n{last}"));
        }
        let image = registry.repository(&format!("app:{template}"));
        let given = [("image", &*image), ("platform", platform), ("labels", r#"["a=b c","d=e"]"#)];
        let step = argo_step(template, &given);
        let Some(step) = step else { return };
        let arguments = plain_registries(&registry);
        let outputs = Scratch::new("argo-outputs");
        let flags = arguments.join("arguments");
        let volumes = [
            (context.path(), "/context", false),
            (outputs.path(), "/outputs", true),
            (flags.as_path(), "/arguments", false),
        ];
        let finished = step.run(pod(kind, &[&step.user()]), &volumes);
        assert_eq!(finished.code, 0, "{template}:\n{}{}", finished.stdout, finished.stderr);
        let reference = std::fs::read_to_string(outputs.join("image-ref")).expect("it was pushed");
        assert!(reference.ends_with(&registry.digest(&format!("app:{template}")).expect("pushed")), "{reference}");
        // An index has one image for each platform.
        if (template, platform) != ("build-restricted", "linux/amd64") {
            references.push(reference);
        }
    }
    // What the fan-out gathers is one JSON array.
    let array = serde_json::to_string(&references).expect("texts");
    let image = registry.repository("app:1");
    let Some(step) = argo_step("index", &[("image", &image), ("images", &array)]) else { return };
    let (outputs, arguments) = (Scratch::new("argo-outputs"), plain_registries(&registry));
    let flags = arguments.join("arguments");
    let volumes = [(outputs.path(), "/outputs", true), (flags.as_path(), "/arguments", false)];
    let finished = step.run(pod(Pod::strict(), &[&step.user()]), &volumes);
    assert_eq!(finished.code, 0, "index:\n{}{}", finished.stdout, finished.stderr);
    assert_eq!(std::fs::read_to_string(outputs.join("image-digest")).ok(), registry.digest("app:1"));
}

#[test]
fn the_step_action_and_the_task_that_joins_run() {
    if !Isolation::Container.allowed("pipelines: step action") {
        return;
    }
    let registry = Registry::plain();
    let source = source("FROM $BASE\nCOPY file /file\nRUN test -e /file\n", &[("file", "x\n")]);
    let insecure =
        [&registry.address, &registry::shared().address].map(|address| format!("--insecure-registry={address}"));
    let image = registry.repository("app:amd64");
    let parameters: [(&str, &[&str]); 4] = [
        ("image", &[&image]),
        ("context", &["/workspace/source/context"]),
        ("dockerfile", &["/workspace/source/Dockerfile"]),
        ("extra-args", &[&insecure[0], &insecure[1]]),
    ];
    let Some(step) = tekton_step("tekton/stepaction/yadokari/0.1/yadokari.yaml", &parameters) else { return };
    assert_eq!(
        step.environment,
        [
            "DOCKER_CONFIG=/tekton/creds/.docker",
            "SSL_CERT_DIR=/kaniko/ssl/certs:/etc/ssl/certs:",
            "GIT_CREDENTIALS_DIR="
        ]
    );
    let results = Scratch::new("step-results");
    let volumes = [(source.path(), "/workspace/source", false), (results.path(), STEP_RESULTS, true)];
    let user = step.user();
    let finished = step.run(pod(Pod::plain(), &[&user]), &volumes);
    assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
    let read = |place: &Scratch, name: &str| std::fs::read_to_string(place.join(name)).expect("a result");
    assert_eq!(Some(read(&results, "IMAGE_DIGEST")), registry.digest("app:amd64"));
    assert_eq!(read(&results, "IMAGE_URL"), image);
    let other = registry.repository("app:arm64");
    let small = source_of_arm64();
    let mut executor = Executor::new(Isolation::Namespace, small.path());
    executor.push_plain(&registry, "app:arm64").add(&["--custom-platform=linux/arm64"]).run().expect(0);
    let index = registry.repository("app:1");
    let references = [read(&results, "IMAGE_REF"), other];
    let references: Vec<&str> = references.iter().map(String::as_str).collect();
    let parameters: [(&str, &[&str]); 3] =
        [("IMAGE", &[&index]), ("IMAGE_REFS", &references), ("EXTRA_ARGS", &[&insecure[0]])];
    let file = "tekton/task/yadokari-index/0.1/yadokari-index.yaml";
    let Some(step) = tekton_step(file, &parameters) else { return };
    let results = Scratch::new("tekton");
    let user = step.user();
    let finished = step.run(pod(Pod::strict(), &[&user]), &[(results.path(), "/tekton/results", true)]);
    assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
    assert_eq!(Some(read(&results, "IMAGE_DIGEST")), registry.digest("app:1"));
    assert_eq!(read(&results, "IMAGES"), format!("{index}@{}", read(&results, "IMAGE_DIGEST")));
}

fn source_of_arm64() -> Scratch {
    source("FROM scratch\nCOPY file /file\n", &[("file", "x\n")])
}

#[test]
fn the_argo_template_that_fetches_its_context_runs() {
    if !Isolation::Container.allowed("pipelines: argo from a URL") {
        return;
    }
    let (registry, repositories) = (Registry::plain(), Scratch::new("repositories"));
    let dockerfile = format!("FROM {}\nCOPY Dockerfile /\nRUN test -e /Dockerfile\n", bases::base("BASE").reference);
    repositories.directory("app/below");
    repositories.file("app/below/Dockerfile", dockerfile);
    let made = "git init -q -b main app && git -C app add . && git -C app commit -qm one && git -C app rev-parse HEAD";
    let commit = git::script(repositories.path(), made);
    let (address, _daemon) = git::daemon(repositories.path());
    let (image, url) = (registry.repository("app:1"), format!("git://{address}/app#refs/heads/main"));
    let given = [("image", image.as_str()), ("context", url.as_str()), ("context-sub-path", "below")];
    let Some(mut step) = argo_step("build-from-url", &given) else { return };
    let arguments = plain_registries(&registry);
    let flags = arguments.join("arguments");
    // The server of this test speaks Git's own protocol, not HTTPS.
    step.environment.push("GIT_PULL_METHOD=git".to_owned());
    let outputs = Scratch::new("argo-outputs");
    let user = step.user();
    let volumes = [(outputs.path(), "/outputs", true), (flags.as_path(), "/arguments", false)];
    let finished = step.run(pod(Pod::plain(), &[&user]), &volumes);
    assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
    let read = |name: &str| std::fs::read_to_string(outputs.join(name)).ok();
    assert_eq!((read("git-commit"), read("image-digest")), (Some(commit), registry.digest("app:1")));
}

#[test]
fn the_ci_image_is_debian_with_git() {
    let what = "images: ci";
    if !Isolation::Container.allowed(what) {
        return;
    }
    let base = match debian::base() {
        Ok(base) => base,
        Err(reason) => return skips::skip(what, &reason),
    };
    // What is compressed there is compressed in other tests.
    let mut arguments = vec![format!("--build-arg=DEBIAN={base}"), "--compression=none".to_owned()];
    arguments.extend(debian::proxies());
    let build = built_with("ci", &arguments);
    let image = build.image();
    image.verify();
    let listing = Listing::of(&image);
    for path in ["/usr/bin/git", "/usr/bin/jq", "/kaniko/executor", "/etc/ssl/certs/ca-certificates.crt"] {
        assert!(listing.0.contains_key(path), "{path}");
    }
    let image = registry::shared().repository("yadokari:ci");
    let finished = Pod::plain().start_image(&image, &["sh", "-c", "git --version && executor version"]).wait(LONG);
    assert!(finished.stdout.contains("git version") && finished.stdout.contains("yadokari "), "{}", finished.stderr);
}
