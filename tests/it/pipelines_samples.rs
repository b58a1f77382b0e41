//! The examples for GitLab, Jenkins and GitHub: their own commands, in our images, with what those systems set; and the
//! samples for Tekton, Argo, Shipwright and Cloud Build, each run as its engine would.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::pipelines_engines::{ARGO, Ground, TEKTON, Values, list, parameters, replaced, run, step, text};
use crate::pipelines_files::python;
use crate::pipelines_images::{Step, document, image, texts};
use crate::support::git::script;
use crate::support::isolation::Isolation;
use crate::support::pod::Pod;
use crate::support::process::LONG;
use crate::support::registry::Registry;
use crate::support::scratch::Scratch;
use crate::support::source::source;

/// Runs commands of a job, one after the other, in one container that has the sources at `place`; returns what they print.
pub(crate) fn job(sources: &Scratch, place: &str, variables: &[(&str, &str)], commands: &[String]) -> String {
    let mut pod = Pod::plain();
    // Where a volume of the system is, above the checkout.
    let above = Path::new(place).parent().expect("it is below a volume").display().to_string();
    pod.add(&[&format!("--tmpfs={above}:mode=0777")]);
    pod.mount_writable(sources.path(), place);
    pod.add(&["--entrypoint=/busybox/sh", &format!("--workdir={place}")]);
    for (name, value) in variables {
        pod.add(&[&format!("--env={name}={value}")]);
    }
    // Each command in a shell of its own, as in Jenkins.
    let script = commands.iter().map(|command| format!("sh -c '{}'", command.replace('\'', "'\\''")));
    let script = script.collect::<Vec<_>>().join(" && ");
    let finished = pod.start_image(&image("debug"), &["-ec", &script]).wait(LONG);
    assert_eq!(finished.code, 0, "{commands:?}:\n{}{}", finished.stdout, finished.stderr);
    finished.stdout
}

pub(crate) fn checkout() -> Scratch {
    let sources = source("FROM $BASE\nCOPY file /file\nRUN cat /file > /ran\n", &[]);
    sources.file("file", "x\n");
    sources
}

#[test]
fn the_example_for_gitlab_runs() {
    if !Isolation::Container.allowed("samples: GitLab") {
        return;
    }
    let Some(jobs) = document("examples/gitlab/.gitlab-ci.yml") else { return };
    let (registry, sources) = (Registry::plain(), checkout());
    let place = "/builds/team/app";
    let name = registry.repository("team/app");
    let variables = [
        ("CI", "true"),
        ("GITLAB_CI", "true"),
        ("CI_PROJECT_DIR", place),
        ("CI_REGISTRY_IMAGE", &*name),
        ("CI_COMMIT_SHORT_SHA", "1a2b3c4d"),
    ];
    job(&sources, place, &variables, &texts(&jobs["image"]["script"]));
    let digest = registry.digest("team/app:1a2b3c4d").expect("it was pushed");
    // What the report of the first job is to the second.
    let report = fs::read_to_string(sources.join("build.env")).expect("the job names it as its report");
    let given: Vec<(&str, &str)> = report.lines().filter_map(|line| line.split_once('=')).collect();
    let printed = job(&sources, place, &given, &texts(&jobs["deploy"]["script"]));
    assert_eq!(printed, format!("deploy {name}@{digest}\n"));
}

#[test]
fn the_example_for_jenkins_runs() {
    if !Isolation::Container.allowed("samples: Jenkins") {
        return;
    }
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/jenkins/Jenkinsfile"));
    let text = text.expect("it is there");
    let commands = text.lines().filter_map(|line| line.trim().strip_prefix("sh '")?.strip_suffix('\''));
    let commands: Vec<String> = commands.map(str::to_owned).collect();
    assert_eq!(commands.len(), 2, "{text}");
    let (registry, sources) = (Registry::plain(), checkout());
    let (place, image) = ("/home/jenkins/agent/workspace/app", registry.repository("team/app:7"));
    let printed = job(&sources, place, &[("WORKSPACE", place), ("IMAGE", &image)], &commands);
    let digest = registry.digest("team/app:7").expect("it was pushed");
    assert_eq!(printed, format!("pushed {image}@{digest}\n"));
}

#[test]
fn the_example_for_github_runs() {
    if !Isolation::Container.allowed("samples: GitHub") {
        return;
    }
    let Some(workflow) = document("examples/github/container-job.yml") else { return };
    let steps = workflow["jobs"]["build"]["steps"].as_array().expect("it has steps").clone();
    let step = |name: &str| steps.iter().find(|step| step["name"] == name).expect(name)["run"].clone();
    let (registry, sources) = (Registry::plain(), checkout());
    let (place, image) = ("/__w/app/app", registry.repository("team/app:abc"));
    let outputs = format!("{place}/set_output");
    let variables = [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_WORKSPACE", place),
        ("GITHUB_OUTPUT", &*outputs),
        ("IMAGE", &*image),
        ("KANIKO_GHCR_IO_USER", "somebody"),
        ("KANIKO_GHCR_IO_PASSWORD", "of no use here"),
    ];
    sources.file("set_output", "");
    job(&sources, place, &variables, &texts(&step("Build and push")));
    let digest = registry.digest("team/app:abc").expect("it was pushed");
    let written = fs::read_to_string(sources.join("set_output")).expect("it is there");
    let told = written.lines().find_map(|line| line.strip_prefix("digest=")).unwrap_or_default().to_owned();
    assert_eq!(told, digest, "{written}");
    assert_eq!(job(&sources, place, &[("DIGEST", &*told)], &texts(&step("Show"))), format!("{digest}\n"));
}

/// A Dockerfile that needs what samples give: RUN, what the Git server's authority vouches for, a stage of that name.
const DOCKERFILE: &str = "FROM $BASE AS release
ARG VERSION=none
COPY file /file
ADD https://$WEB/files/note.txt /note
RUN --mount=type=secret,id=npm-token cp /run/secrets/npm-token /token || echo none > /token
RUN test \"$(cat /note)\" = 'a note' && echo \"$VERSION\" > /version
";
/// One for machines that are not there.
const WITHOUT_RUN: &str = "FROM scratch\nCOPY file /file\n";

fn ready(what: &str, dockerfile: &str) -> Option<Ground> {
    (Isolation::Container.allowed(what) && python(what).is_some()).then(|| Ground::new(dockerfile))
}

#[test]
fn the_task_runs_of_tekton_s_samples_run() {
    let Some(ground) = ready("samples: Tekton's TaskRuns", DOCKERFILE) else { return };
    let mut count = 0;
    for file in [
        "tekton/task/yadokari/0.1/samples/taskrun.yaml",
        "tekton/task/yadokari/0.1/samples/taskrun-arguments.yaml",
        "tekton/task/yadokari/0.1/samples/taskrun-user-namespace.yaml",
        "tekton/task/yadokari-restricted/0.1/samples/taskrun.yaml",
        "tekton/stepaction/yadokari/0.1/samples/taskrun.yaml",
        "tekton/samples/secrets-and-certificates.yaml",
        "tekton/samples/resolvers.yaml",
    ] {
        for (number, document) in ground.documents(file).iter().enumerate() {
            let spec = &document["spec"];
            let spec = replaced(spec, &parameters("params.", &Value::Null, &spec["params"]), TEKTON);
            let what = format!("{file}, {number}");
            let found = ground.task_run(&spec, &what);
            ground.must_have("team/app:1.0", found.get("IMAGE_DIGEST"), &what);
            count += 1;
        }
    }
    assert_eq!(count, 9);
}

#[test]
fn the_pipelines_of_tekton_s_samples_run() {
    let Some(ground) = ready("samples: Tekton's Pipelines", DOCKERFILE) else { return };
    let documents = ground.documents("tekton/samples/clone-build-deploy.yaml");
    let (values, others) = ground.pipeline_run(&documents[1]["spec"], &documents[0]["spec"], "clone-build-deploy");
    ground.must_have("team/app:1.0", values["tasks.build.results.IMAGE_DIGEST"].first(), "clone-build-deploy");
    let deployed =
        format!("app={}@{}", ground.registry.repository("team/app"), values["tasks.build.results.IMAGE_DIGEST"][0]);
    assert_eq!(others, ["set", "image", "deployment/app", &deployed]);
    assert_eq!(values["tasks.build.results.CHAINS-GIT_COMMIT"], [ground.commit.as_str()]);

    let document = &ground.documents("tekton/samples/monorepo.yaml")[0]["spec"];
    let (values, _) = ground.pipeline_run(document, &document["pipelineSpec"], "monorepo");
    for (number, service) in ["api", "web"].into_iter().enumerate() {
        let digest = values["tasks.build.results.IMAGE_DIGEST"].get(number);
        ground.must_have(&format!("shop/{service}:1.0"), digest, "monorepo");
    }

    // What Pipelines-as-Code puts into a file of the repository.
    let url = format!("https://{}/git/team/app.git", ground.web.address);
    let event = [(" repo_url ", &url), (" revision ", &ground.commit), (" git_auth_secret ", &url)];
    let event = event.map(|(name, value)| (name.to_owned(), vec![value.clone()])).into();
    let document = replaced(&ground.documents("tekton/samples/pipelines-as-code.yaml")[0]["spec"], &event, ARGO);
    let (values, _) = ground.pipeline_run(&document, &document["pipelineSpec"], "pipelines-as-code");
    let name = format!("team/app:{}", ground.commit);
    ground.must_have(&name, values["tasks.build.results.IMAGE_DIGEST"].first(), "pipelines-as-code");

    // What an event makes of the template.
    let documents = ground.documents("tekton/samples/triggers.yaml");
    let body = [("body.repository.clone_url", &url), ("body.after", &ground.commit)];
    let body = body.map(|(name, value)| (name.to_owned(), vec![value.clone()])).into();
    let binding = replaced(&documents[1]["spec"]["params"], &body, TEKTON);
    let bound = parameters("tt.params.", &Value::Null, &binding);
    let template = replaced(&documents[0]["spec"]["resourcetemplates"][0]["spec"], &bound, TEKTON);
    let found = ground.task_run(&template, "triggers");
    ground.must_have(&name, found.get("IMAGE_DIGEST"), "triggers");
}

#[test]
fn the_pipeline_and_the_workflow_for_several_platforms_run() {
    let Some(ground) = ready("samples: several platforms", WITHOUT_RUN) else { return };
    let pipeline =
        &ground.documents("tekton/pipeline/yadokari-multi-platform/0.1/yadokari-multi-platform.yaml")[0]["spec"];
    let sample = &ground.documents("tekton/pipeline/yadokari-multi-platform/0.1/samples/pipelinerun.yaml")[0]["spec"];
    let (values, _) = ground.pipeline_run(sample, pipeline, "Tekton");
    assert_eq!(values["tasks.build.results.IMAGE_REF"].len(), 2);
    let result = replaced(&pipeline["results"][1]["value"], &values, TEKTON);
    ground.must_have("team/app:1.0", texts(&result).first(), "Tekton");

    let spec = &ground.documents("argo/samples/multi-platform.yaml")[0]["spec"];
    let values = ground.workflow(spec, &Values::new(), "Argo");
    let digest = replaced(&spec["templates"][0]["outputs"]["parameters"][0]["valueFrom"]["parameter"], &values, ARGO);
    ground.must_have("team/app:1.0", texts(&digest).first(), "Argo");
    let platforms =
        format!("skopeo inspect --raw --tls-verify=false docker://{}", ground.registry.repository("team/app:1.0"));
    let index: Value = serde_json::from_str(&script(ground.source.path(), &platforms)).expect("JSON");
    assert_eq!(list(&index["manifests"]).len(), 2, "{index}");
}

#[test]
fn the_workflows_of_argo_s_samples_run() {
    let Some(ground) = ready("samples: Argo", DOCKERFILE) else { return };
    for sample in ["context-gcs", "context-git", "context-s3", "user-namespace", "secrets-and-certificates"] {
        let mut spec = ground.documents(&format!("argo/samples/{sample}.yaml"))[0]["spec"].clone();
        if sample == "secrets-and-certificates" {
            // A repository that asks who is there.
            let text = spec.to_string().replace("/git/team/app.git", "/gitauth/team/app.git");
            spec = serde_json::from_str(&text).expect("JSON");
        }
        let values = ground.workflow(&spec, &Values::new(), sample);
        ground.must_have("team/app:1.0", values["tasks.build.outputs.parameters.image-digest"].first(), sample);
    }
    let sensor = &ground.documents("argo/samples/events.yaml")[0]["spec"]["triggers"][0]["template"]["argoWorkflow"];
    assert_eq!(sensor["parameters"][0]["src"]["dataKey"], "body.after");
    assert_eq!(sensor["parameters"][0]["dest"], "spec.arguments.parameters.0.value");
    let spec = &sensor["source"]["resource"]["spec"];
    let first = format!("workflow.parameters.{}", text(&spec["arguments"]["parameters"][0], "name"));
    let values = ground.workflow(spec, &[(first, vec![ground.commit.clone()])].into(), "events");
    let name = format!("team/app:{}", ground.commit);
    ground.must_have(&name, values["tasks.build.outputs.parameters.image-digest"].first(), "events");
}

#[test]
fn the_build_of_shipwright_s_sample_runs() {
    let Some(ground) = ready("samples: Shipwright", DOCKERFILE) else { return };
    let strategy = &ground.documents("shipwright/clusterbuildstrategy.yaml")[0]["spec"];
    let build = &ground.documents("shipwright/samples/build.yaml")[0]["spec"];
    let mut values = parameters("params.", &strategy["parameters"], &build["paramValues"]);
    for (name, value) in [
        ("params.shp-source-root", "/workspace/source"),
        ("params.shp-source-context", "/workspace/source"),
        ("params.shp-output-directory", "/workspace/output-image"),
        ("results.shp-error-reason.path", "/tekton/results/shp-error-reason"),
        ("results.shp-error-message.path", "/tekton/results/shp-error-message"),
    ] {
        values.insert(name.to_owned(), vec![value.to_owned()]);
    }
    let mut container = replaced(&strategy["steps"][0], &values, TEKTON);
    container["securityContext"]["runAsUser"] = strategy["securityContext"]["runAsUser"].clone();
    let output = Scratch::new("output-image");
    let volumes = [
        (ground.source.path().to_owned(), "/workspace/source".to_owned()),
        (ground.files.join("run"), "/run-secrets".to_owned()),
        (ground.files.join("ca/ca.crt"), "/kaniko/ssl/certs/ours.crt".to_owned()),
    ];
    let step = step(&container, Vec::new());
    run(&step, &Value::Null, &volumes, (output.path(), "/workspace/output-image"), "Shipwright");
    // Shipwright pushes the one image of the directory.
    let text = fs::read_to_string(output.join("index.json")).expect("a layout");
    let index: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(list(&index["manifests"]).len(), 1, "{index}");
    let copy = format!(
        "skopeo copy -q --dest-tls-verify=false 'oci:{}' docker://{}",
        output.path().display(),
        ground.registry.repository("team/app:1.0")
    );
    script(ground.source.path(), &copy);
    ground.must_have(
        "team/app:1.0",
        index["manifests"][0]["digest"].as_str().map(str::to_owned).as_ref(),
        "Shipwright",
    );
}

#[test]
fn the_builds_for_cloud_build_run() {
    let what = "samples: Cloud Build";
    for (file, dockerfile) in
        [("cloudbuild", DOCKERFILE), ("cloudbuild-docker", DOCKERFILE), ("cloudbuild-multi-platform", WITHOUT_RUN)]
    {
        let Some(ground) = ready(what, dockerfile) else { return };
        let build = &ground.documents(&format!("cloudbuild/{file}.yaml"))[0];
        let values = [("$_TAG", text(&build["substitutions"], "_TAG")), ("$BUILD_ID", "b-1"), ("$PROJECT_ID", "shop")];
        for step in list(&build["steps"]).iter().filter(|step| text(step, "name").contains("/yadokari/")) {
            let arguments = texts(&step["args"]).into_iter();
            let arguments =
                arguments.map(|word| values.iter().fold(word, |word, (name, value)| word.replace(name, value)));
            let step = Step {
                command: texts(&step["entrypoint"]),
                arguments: arguments.collect(),
                directory: Some("/workspace".to_owned()),
                security: Value::Null,
                mounts: Vec::new(),
                environment: Vec::new(),
            };
            let volumes = [(ground.files.join("ca/ca.crt"), "/kaniko/ssl/certs/ours.crt".to_owned())];
            run(&step, &Value::Null, &volumes, (ground.source.path(), "/workspace"), file);
        }
        let name = if file == "cloudbuild-docker" {
            // What the step after it loads.
            let archive = ground.source.join("image.tar");
            let copy = format!(
                "skopeo copy -q --dest-tls-verify=false 'docker-archive:{}' docker://{}",
                archive.display(),
                ground.registry.repository("loaded:1")
            );
            script(ground.source.path(), &copy);
            "loaded:1".to_owned()
        } else {
            "shop/images/app:b-1".to_owned()
        };
        assert!(ground.registry.digest(&name).is_some(), "{file}: {name} was not pushed");
    }
}
