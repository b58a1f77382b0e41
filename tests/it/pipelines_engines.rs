//! Runs what files for Tekton and Argo say, as these engines would: what they name is looked up, their variables are replaced,
//! and every step of ours runs in a pod of its kind. The registry, the Git server and the secrets are of this machine; what
//! else a file names (a hub's git-clone, kubectl) is not run: its arguments are looked at.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::pipelines_files::python;
use crate::pipelines_images::{IN_USER_NAMESPACE, Step, texts};
use crate::support::bases;
use crate::support::git::script;
use crate::support::pod::Pod;
use crate::support::process::{self, SHORT};
use crate::support::registry::Registry;
use crate::support::scratch::Scratch;
use crate::support::web::Web;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
pub(crate) const TEKTON: (&str, &str) = ("$(", ")");
pub(crate) const ARGO: (&str, &str) = ("{{", "}}");

/// Variables of an engine: a text has one value.
pub(crate) type Values = BTreeMap<String, Vec<String>>;

/// What samples name, on this machine.
pub(crate) struct Ground {
    pub(crate) registry: Registry,
    pub(crate) web: Web,
    /// The sources, as a volume has them.
    pub(crate) source: Scratch,
    /// A directory for each secret or ConfigMap that samples name.
    pub(crate) files: Scratch,
    pub(crate) commit: String,
}

impl Ground {
    /// Serves sources with this Dockerfile, in three repositories.
    pub(crate) fn new(dockerfile: &str) -> Self {
        let (registry, web, source, files) =
            (Registry::plain(), Web::start(), Scratch::new("sources"), Scratch::new("secrets"));
        let dockerfile = dockerfile.replace("$BASE", &bases::base("BASE").reference).replace("$WEB", &web.address);
        for place in ["", "services/api/", "services/web/"] {
            source.file(&format!("{place}Dockerfile"), &dockerfile);
            source.file(&format!("{place}file"), format!("of {place}\n"));
        }
        let commit = script(source.path(), "git init -q -b main; git add .; git commit -qm one; git rev-parse HEAD");
        for repository in ["team/app.git", "shop/all.git", "platform/yadokari.git"] {
            let place = web.scratch.directory("root").join(repository);
            let clone = format!("git clone -q --bare '{}' '{}'", source.path().display(), place.display());
            script(source.path(), &clone);
        }
        web.scratch.file("root/note.txt", "a note\n");
        files.file("ca/ca.crt", web.ca());
        files.file("docker/config.json", "{}");
        files.file("run/npm-token", "t0k");
        files.file("git/.git-credentials", format!("https://builder:hermit-crab-shell@{}\n", web.address));
        files.directory("none");
        Self { registry, web, source, files, commit }
    }

    /// Reads a file of the repository; what it names is on this machine.
    pub(crate) fn documents(&self, file: &str) -> Vec<Value> {
        let script = Path::new(ROOT).join("tests/pipelines/check.py");
        let python = python("pipelines: samples").expect("it was asked for before");
        let read = process::run(Command::new(python).arg(script).arg("--json").arg(Path::new(ROOT).join(file)), SHORT);
        let text = read.success().replace("registry.example.com", &self.registry.address);
        let text = text.replace("$LOCATION-docker.pkg.dev", &self.registry.address);
        let text = text.replace("git.example.com", &format!("{}/git", self.web.address));
        serde_json::from_str(&text).expect("JSON")
    }

    /// Asserts that a reference with a digest is what its tag leads to.
    pub(crate) fn must_have(&self, name: &str, digest: Option<&String>, what: &str) {
        assert!(digest.is_some(), "{what}: no digest");
        assert_eq!(self.registry.digest(name).as_ref(), digest, "{what}: {name}");
    }
}

/// Replaces variables; a text that is one array becomes that array, or a part of the list that it stands in.
pub(crate) fn replaced(value: &Value, values: &Values, marks: (&str, &str)) -> Value {
    let whole = |text: &str| {
        values.iter().find(|(name, _)| text == format!("{}{name}[*]{}", marks.0, marks.1)).map(|(_, list)| list.clone())
    };
    match value {
        Value::String(text) => match whole(text) {
            Some(list) => list.into(),
            None => values
                .iter()
                .fold(text.clone(), |text, (name, value)| {
                    text.replace(&format!("{}{name}{}", marks.0, marks.1), &value.join(" "))
                })
                .into(),
        },
        Value::Array(list) => list
            .iter()
            .flat_map(|item| match item.as_str().and_then(whole) {
                Some(list) => list.into_iter().map(Value::from).collect(),
                None => vec![replaced(item, values, marks)],
            })
            .collect(),
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| (name.clone(), replaced(value, values, marks)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Takes parameters: what is declared with a default, then what is given.
pub(crate) fn parameters(prefix: &str, declared: &Value, given: &Value) -> Values {
    let mut values = Values::new();
    for one in list(declared).iter().filter(|one| !one["default"].is_null() || !one["defaults"].is_null()) {
        let default = if one["default"].is_null() { &one["defaults"] } else { &one["default"] };
        values.insert(format!("{prefix}{}", text(one, "name")), texts(default));
    }
    for one in list(given) {
        // Shipwright has a list of values in their own field.
        let value = match &one["values"] {
            Value::Array(values) => values.iter().map(|value| text(value, "value").to_owned()).collect(),
            _ => texts(&one["value"]),
        };
        values.insert(format!("{prefix}{}", text(one, "name")), value);
    }
    values
}

/// Makes a step of a container whose variables are replaced.
pub(crate) fn step(container: &Value, environment: Vec<String>) -> Step {
    let known = list(&container["env"]).iter().filter(|one| one["value"].is_string());
    let known = known.map(|one| format!("{}={}", text(one, "name"), text(one, "value")));
    let directory = container["workingDir"].as_str().filter(|directory| !directory.is_empty()).map(str::to_owned);
    Step {
        command: texts(&container["command"]),
        arguments: texts(&container["args"]),
        directory,
        security: container["securityContext"].clone(),
        mounts: list(&container["volumeMounts"]).iter().map(|one| text(one, "mountPath").to_owned()).collect(),
        environment: known.chain(environment).collect(),
    }
}

/// Runs a step in a pod whose security context may have a user; `volumes` are read-only but those of results.
pub(crate) fn run(step: &Step, pod: &Value, volumes: &[(PathBuf, String)], writable: (&Path, &str), what: &str) {
    assert!(
        !step.arguments.iter().any(|word| word.contains("$(") || word.contains("{{")),
        "{what}: {:?}",
        step.arguments
    );
    let user =
        pod["securityContext"]["runAsUser"].as_u64().map_or_else(|| step.user(), |user| format!("--user={user}"));
    let mut options = vec![user.as_str()];
    if pod["hostUsers"] == false {
        options.extend(IN_USER_NAMESPACE);
    }
    let is_strict = step.security["readOnlyRootFilesystem"] == true;
    let mut kind = if is_strict { Pod::strict() } else { Pod::plain() };
    let mut all: Vec<(&Path, &str, bool)> =
        volumes.iter().map(|(outside, inside)| (outside.as_path(), inside.as_str(), false)).collect();
    all.push((writable.0, writable.1, true));
    let finished = step.run(kind.add(&options), &all);
    assert_eq!(finished.code, 0, "{what}:\n{}{}", finished.stdout, finished.stderr);
}

/// Reads all results that a step has left.
fn results(directory: &Scratch) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory.path()).expect("it is there").map(|entry| entry.expect("it is there"));
    let read = |entry: fs::DirEntry| {
        (entry.file_name().to_string_lossy().into_owned(), fs::read_to_string(entry.path()).expect("text"))
    };
    entries.map(read).collect()
}

impl Ground {
    /// Runs a Task of ours as a TaskRun says, whose variables are replaced; returns its results.
    pub(crate) fn task_run(&self, run_spec: &Value, what: &str) -> BTreeMap<String, String> {
        let reference = run_spec["taskRef"].to_string();
        let name =
            ["yadokari-restricted", "yadokari-index", "yadokari"].into_iter().find(|name| reference.contains(name));
        let task = match (&run_spec["taskSpec"], name) {
            (Value::Null, Some(name)) => {
                self.documents(&format!("tekton/task/{name}/0.1/{name}.yaml"))[0]["spec"].clone()
            }
            (spec, _) => spec.clone(),
        };
        let bound: Vec<&str> = list(&run_spec["workspaces"]).iter().map(|one| text(one, "name")).collect();
        let mut values = parameters("params.", &task["params"], &run_spec["params"]);
        let mut volumes = Vec::new();
        let mut has_authority = false;
        for workspace in list(&task["workspaces"]) {
            let name = text(workspace, "name");
            let place = workspace["mountPath"].as_str().map_or_else(|| format!("/workspace/{name}"), str::to_owned);
            let outside = match name {
                "source" => self.source.path().to_owned(),
                "dockerconfig" => self.files.join("docker"),
                "sslcertdir" => self.files.join("ca"),
                "secrets" => self.files.join("run"),
                "gitauth" => self.files.join("git"),
                _ => self.files.join("none"),
            };
            let is_bound = bound.contains(&name);
            values
                .insert(format!("workspaces.{name}.path"), vec![if is_bound { place.clone() } else { String::new() }]);
            has_authority |= is_bound && name == "sslcertdir";
            if is_bound {
                volumes.push((outside, place));
            }
        }
        if !has_authority {
            volumes.push((self.files.join("ca/ca.crt"), "/kaniko/ssl/certs/ours.crt".to_owned()));
        }
        let first = replaced(&task["steps"][0], &values, TEKTON);
        let (container, place) =
            if first["ref"].is_object() { self.step_action(&first) } else { (first, "/tekton/results") };
        let directory = Scratch::new("tekton");
        run(&step(&container, Vec::new()), &run_spec["podTemplate"], &volumes, (directory.path(), place), what);
        let found = results(&directory);
        let of_step: Values =
            found.iter().map(|(name, value)| (format!("steps.build.results.{name}"), vec![value.clone()])).collect();
        let declared = list(&task["results"]).iter().filter(|one| one["value"].is_string());
        let declared: BTreeMap<String, String> = declared
            .map(|one| (text(one, "name").to_owned(), texts(&replaced(&one["value"], &of_step, TEKTON)).concat()))
            .collect();
        if declared.is_empty() { found } else { declared }
    }

    /// Puts the StepAction in the place of the step that names it.
    fn step_action(&self, step: &Value) -> (Value, &'static str) {
        let spec = self.documents("tekton/stepaction/yadokari/0.1/yadokari.yaml")[0]["spec"].clone();
        let mut values = parameters("params.", &spec["params"], &step["params"]);
        let place = "/tekton/steps/step-build/results";
        for result in list(&spec["results"]) {
            let name = text(result, "name");
            values.insert(format!("step.results.{name}.path"), vec![format!("{place}/{name}")]);
        }
        (replaced(&spec, &values, TEKTON), place)
    }

    /// Runs a Pipeline as a PipelineRun says; returns what `tasks.<task>.results.<result>` is worth, and the arguments of
    /// tasks that are not ours.
    pub(crate) fn pipeline_run(&self, run_spec: &Value, pipeline: &Value, what: &str) -> (Values, Vec<String>) {
        let (mut values, mut others) = (parameters("params.", &pipeline["params"], &run_spec["params"]), Vec::new());
        for task in list(&pipeline["tasks"]) {
            let name = text(task, "name").to_owned();
            let task = replaced(task, &values, TEKTON);
            let mut add = |result: &str, value: String| {
                values.entry(format!("tasks.{name}.results.{result}")).or_default().push(value);
            };
            if task["taskRef"].to_string().contains("git-clone") {
                add("commit", self.commit.clone());
                add("url", texts(&task["params"][0]["value"]).concat());
                continue;
            }
            if let Value::Object(_) = &task["taskSpec"] {
                let own = parameters("params.", &task["taskSpec"]["params"], &task["params"]);
                others.extend(texts(&replaced(&task["taskSpec"]["steps"][0]["args"], &own, TEKTON)));
                continue;
            }
            let template = list(&run_spec["taskRunSpecs"]).iter().find(|one| text(one, "pipelineTaskName") == name);
            for given in combinations(&task) {
                let run_spec = serde_json::json!({
                    "taskRef": task["taskRef"],
                    "params": given,
                    "workspaces": task["workspaces"],
                    "podTemplate": template.map(|one| one["podTemplate"].clone()),
                });
                for (result, value) in self.task_run(&run_spec, &format!("{what}: {name} {given:?}")) {
                    add(&result, value);
                }
            }
        }
        (values, others)
    }
}

/// Lists the parameters of each run of a task: one, or one for each element of its matrix.
fn combinations(task: &Value) -> Vec<Vec<Value>> {
    let own = list(&task["params"]);
    let with = |more: &[Value]| [own, more].concat();
    let included = list(&task["matrix"]["include"]).iter().map(|one| with(list(&one["params"])));
    let multiplied = list(&task["matrix"]["params"]).iter().flat_map(|one| {
        texts(&one["value"])
            .into_iter()
            .map(|value| with(&[serde_json::json!({ "name": one["name"], "value": value })]))
    });
    let all: Vec<_> = included.chain(multiplied).collect();
    if all.is_empty() { vec![own.to_vec()] } else { all }
}

impl Ground {
    /// Runs a Workflow: the tasks of its main template, in their order; returns the outputs of each.
    pub(crate) fn workflow(&self, spec: &Value, given: &Values, what: &str) -> Values {
        let mut values = parameters("workflow.parameters.", &Value::Null, &spec["arguments"]["parameters"]);
        values.extend(given.clone());
        let patch = text(spec, "podSpecPatch").contains("hostUsers: false");
        let pod = serde_json::json!({ "hostUsers": !patch });
        for task in list(&spec["templates"][0]["dag"]["tasks"]) {
            let items = if task["withItems"].is_null() { vec![String::new()] } else { texts(&task["withItems"]) };
            let mut gathered: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for item in &items {
                let values: Values = values
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .chain([("item".to_owned(), vec![item.clone()])])
                    .collect();
                let task = replaced(task, &values, ARGO);
                for (name, value) in self.template(&task, &pod, what) {
                    gathered.entry(name).or_default().push(value);
                }
            }
            for (name, list) in gathered {
                // What tasks with items have told comes as one JSON array.
                let value = if task["withItems"].is_null() {
                    list.concat()
                } else {
                    serde_json::to_string(&list).expect("texts")
                };
                values.insert(format!("tasks.{}.outputs.parameters.{name}", text(task, "name")), vec![value]);
            }
        }
        values
    }

    fn template(&self, task: &Value, pod: &Value, what: &str) -> BTreeMap<String, String> {
        let document = &self.documents("argo/workflowtemplate.yaml")[0];
        let name = text(&task["templateRef"], "template");
        let template = list(&document["spec"]["templates"]).iter().find(|one| text(one, "name") == name).expect(name);
        let arguments = &task["arguments"];
        let values = parameters("inputs.parameters.", &template["inputs"]["parameters"], &arguments["parameters"]);
        let template = replaced(template, &values, ARGO);
        let scratch = Scratch::new("argo");
        let mut volumes = Vec::new();
        for input in list(&template["inputs"]["artifacts"]) {
            let given = list(&arguments["artifacts"]).iter().find(|one| one["name"] == input["name"]).unwrap_or(input);
            let outside = match given["raw"]["data"].as_str() {
                Some(data) => scratch.file("arguments", data),
                None => self.source.path().to_owned(),
            };
            volumes.push((outside, text(input, "path").to_owned()));
        }
        let mounted = |name: &str| match name {
            "certificates" => self.files.join("ca"),
            "run-secrets" => self.files.join("run"),
            "registry-credentials" => self.files.join("docker"),
            other => panic!("{what}: a volume {other}"),
        };
        let mounts = list(&template["container"]["volumeMounts"]).iter().filter(|one| text(one, "name") != "outputs");
        volumes.extend(mounts.map(|one| (mounted(text(one, "name")), text(one, "mountPath").to_owned())));
        // The secret of a private repository, where the sample names one.
        let login = [("GIT_USERNAME", "builder"), ("GIT_PASSWORD", "hermit-crab-shell")];
        let is_named = list(&arguments["parameters"]).iter().any(|one| text(one, "name") == "git-credentials");
        let environment =
            login.into_iter().filter(|_| is_named).map(|(name, value)| format!("{name}={value}")).collect();
        let outputs = Scratch::new("argo-outputs");
        run(&step(&template["container"], environment), pod, &volumes, (outputs.path(), "/outputs"), what);
        results(&outputs)
    }
}
