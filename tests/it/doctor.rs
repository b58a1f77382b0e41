//! `yadokari doctor` and `yadokari version --verbose`: what they say of a pod is what a build finds in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::pipelines_images::IN_USER_NAMESPACE;
use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::pod::{EXECUTOR, Pod};
use crate::support::process::{self, Finished, SHORT};
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::scratch::Scratch;
use crate::support::source::one_run;

/// Looks at the pod, and builds in it with what `auto` takes.
const SCRIPT: &str = "/kaniko/executor doctor --json > /step-results/doctor.json || exit 99
/kaniko/executor doctor > /step-results/doctor.txt || exit 98
exec /kaniko/executor \"$@\"";

fn command(words: &[&str], scratch: &Scratch) -> Command {
    let mut command = Command::new(EXECUTOR);
    command.args(words).env_clear().env("TMPDIR", scratch.path()).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

fn json(finished: &Finished) -> Value {
    assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {}", finished.stdout))
}

/// Lists the isolations that are possible, by the doctor's word.
fn possible(findings: &Value) -> Vec<&str> {
    let isolations = findings["isolations"].as_array().expect("a list");
    let named = isolations.iter().filter(|tried| tried["asked"] != "auto" && tried["taken"] == tried["asked"]);
    named.filter_map(|tried| tried["asked"].as_str()).collect()
}

/// Looks at a pod and builds in it; returns what was found.
fn look(pod: Pod) -> Value {
    let source = one_run();
    let mut executor = Executor::in_pod(Isolation::Auto, pod, source.path());
    let build = executor.only_layout().env("KANIKO_DIR", "/state").run_script(SCRIPT);
    let told = build.result("doctor.json").unwrap_or_else(|| panic!("nothing is told:\n{}", build.stderr));
    let findings: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"));
    let auto = &findings["isolations"][0];
    let text = |name: &str| auto[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(text("asked"), "auto");
    let expected = format!("isolation {}: {}", text("taken"), text("reason"));
    match build.code {
        0 => assert!(build.stderr.contains(&expected), "the doctor says `{expected}`, the build:\n{}", build.stderr),
        code => assert_eq!((text("taken").as_str(), code), ("none", 71), "{}", build.stderr),
    }
    let shown = build.result("doctor.txt").expect("the same as text");
    for word in ["Kernel", "Isolations", "Process", "Disks", "Memory", text("reason").as_str()] {
        assert!(shown.contains(word), "{word} is not in\n{shown}");
    }
    findings
}

/// A pod with a volume for temporary files, as an emptyDir is.
fn with_state(mut pod: Pod, state: &Scratch) -> Pod {
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    pod.mount_writable(state.path(), "/state");
    pod
}

#[test]
fn the_doctor_says_of_each_pod_what_a_build_finds() {
    if !Isolation::Container.allowed("doctor: pods") {
        return;
    }
    type Profile = fn() -> Pod;
    const READ_ONLY: [&str; 2] = ["--read-only", "--read-only-tmpfs=false"];
    let rows: [(&str, Profile, &[&str]); 7] = [
        ("ordinary", Pod::plain, &["container", "chroot"]),
        ("unshare", Pod::unshare_allowed, &["namespace", "container", "chroot"]),
        ("without user namespaces", Pod::without_user_namespaces, &["namespace", "container", "chroot"]),
        ("unconfined", Pod::unconfined, &["container", "chroot"]),
        ("read-only root", || Pod::plain().add(&READ_ONLY), &["chroot"]),
        ("user namespace", || Pod::unshare_allowed().add(&IN_USER_NAMESPACE), &["namespace", "container", "chroot"]),
        ("restricted", Pod::restricted, &[]),
    ];
    for (name, profile, expected) in rows {
        let state = Scratch::new("state");
        let findings = look(with_state(profile(), &state));
        let found: Vec<&str> = possible(&findings).into_iter().filter(|name| *name != "mediated").collect();
        for isolation in expected {
            assert!(found.contains(isolation), "{name}: no {isolation} in {found:?}: {}", findings["isolations"]);
        }
        let process = &findings["process"];
        let restricted = name == "restricted";
        assert_eq!(process["uid"], if restricted { "65532" } else { "0" }, "{name}");
        assert_eq!(process["no_new_privileges"], restricted, "{name}");
        assert_eq!(process["capabilities"].as_array().map(Vec::is_empty), Some(restricted), "{name}: {process}");
        assert_eq!(process["seccomp"], if name == "unconfined" { "off" } else { "filter" }, "{name}");
        assert_eq!(findings["disks"][0]["path"], "/state", "{name}: {}", findings["disks"]);
        let is_read_only = restricted || name == "read-only root";
        assert_eq!(findings["disks"][2]["writable"], !is_read_only, "{name}: {}", findings["disks"]);
        assert!(!is_read_only || !found.contains(&"container"), "{name}: {found:?}");
        assert_eq!(process["all_ids"], name != "user namespace", "{name}: {process}");
        for refused in
            findings["isolations"].as_array().expect("a list").iter().filter(|tried| tried["taken"] == "none")
        {
            assert!(refused["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{name}: {refused}");
            assert!(refused["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{name}: {refused}");
        }
        let left: Vec<_> = fs::read_dir(state.path()).expect("it is there").flatten().map(|e| e.file_name()).collect();
        let is_left = |name: &std::ffi::OsString| !name.to_string_lossy().contains("inventories");
        assert!(!left.iter().any(is_left), "{name}: {left:?} is left");
    }
}

#[test]
fn the_doctor_finds_the_limit_of_memory_and_the_engine() {
    if !Isolation::Container.allowed("doctor: limits") {
        return;
    }
    let volumes = Scratch::new("volumes");
    let mut pod = Pod::of(crate::support::pod::System::Tekton, &volumes);
    pod.add(&["--memory=512m", "--pids-limit=300", "--tmpfs=/small:size=8m,noexec"]);
    let findings = json(&pod.run(&["/kaniko/executor", "doctor", "--json", "--state-dir=/small"], SHORT));
    assert_eq!(findings["memory"]["limit"], 512 << 20, "{}", findings["memory"]);
    assert_eq!(findings["memory"]["processes"], 300, "{}", findings["memory"]);
    assert!(findings["memory"]["used"].as_u64().is_some_and(|used| used < 512 << 20), "{}", findings["memory"]);
    let disk = &findings["disks"][0];
    assert_eq!((disk["path"].as_str(), disk["type"].as_str()), (Some("/small"), Some("tmpfs")), "{disk}");
    assert_eq!((&disk["size"], &disk["no_exec"]), (&Value::from(8 << 20), &Value::from(true)), "{disk}");
    let engines: Vec<&str> = findings["engines"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(engines, ["Kubernetes", "Tekton"]);
}

#[test]
fn the_doctor_asks_registries_and_tells_no_secret() {
    let registry = Registry::secured();
    let repository = registry.repository("team/app");
    for (password, may_push) in [(PASSWORD, true), ("wrong-and-secret", false)] {
        let scratch = Scratch::new("doctor");
        scratch.file("config.json", registry.docker_config(password));
        let certificate = format!("--registry-certificate={}={}", registry.address, registry.ca().display());
        let arguments = ["doctor", "--registry", &repository, &certificate];
        let run = |more: &[&str]| {
            let mut command = command(&[&arguments[..], more].concat(), &scratch);
            command.env("DOCKER_CONFIG", scratch.path()).env("CI_REGISTRY", "registry.example.com");
            process::run(command.env("CI_REGISTRY_USER", USER).env("CI_REGISTRY_PASSWORD", "gitlab-secret"), SHORT)
        };
        let findings = json(&run(&["--json"]));
        let answer = &findings["access"]["registries"][0];
        assert_eq!(answer["may_push"], may_push, "{answer}");
        assert!(answer["credentials"].as_str().is_some_and(|by| by.contains("config.json")), "{answer}");
        assert_eq!(answer["error"].is_null(), may_push, "{answer}");
        let text = run(&[]).success();
        for shown in [text, findings.to_string()] {
            assert!(shown.contains("config.json") && shown.contains(&registry.address), "{shown}");
            for secret in [password, "gitlab-secret", &crate::support::registry::base64(&format!("{USER}:{password}"))]
            {
                assert!(!shown.contains(secret), "{secret} is told in {shown}");
            }
        }
    }
}

#[test]
fn a_malformed_file_of_credentials_does_not_keep_the_doctor_from_looking() {
    let scratch = Scratch::new("doctor");
    scratch.file("config.json", "{\"auths\": {\"registry.example.com\": {\"auth\": \"c2VjcmV0\"");
    let mut command = command(&["doctor", "--json"], &scratch);
    let findings = json(&process::run(command.env("DOCKER_CONFIG", scratch.path()), SHORT));
    let error = findings["access"]["error"].as_str().unwrap_or_default();
    assert!(error.contains("malformed") && !error.contains("c2VjcmV0"), "{error}");
    assert_eq!(findings["isolations"].as_array().map(Vec::len), Some(5));
}

#[test]
fn a_version_says_what_the_report_of_a_fault_needs() {
    let scratch = Scratch::new("version");
    let plain = process::run(&mut command(&["version"], &scratch), SHORT).success();
    assert_eq!(plain, format!("yadokari {}\n", env!("CARGO_PKG_VERSION")));
    let verbose = process::run(&mut command(&["version", "--verbose"], &scratch), SHORT).success();
    assert!(verbose.starts_with(&plain), "{verbose}");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux");
    for word in
        ["commit", "git, s3, gcs, azure, aws, google", "-linux-gnu", "rustc 1.", kernel.trim(), "namespace", "mediated"]
    {
        assert!(verbose.contains(word), "{word} is not in\n{verbose}");
    }
    let left: Vec<_> = fs::read_dir(scratch.path()).expect("it is there").flatten().map(|e| e.file_name()).collect();
    assert!(left.is_empty(), "{left:?} is left");
}

#[test]
fn manual_pages_are_written_of_each_command() {
    let scratch = Scratch::new("man");
    let directory = scratch.join("pages").display().to_string();
    process::run(&mut command(&["man", &directory], &scratch), SHORT).success();
    for (page, flag) in
        [("yadokari.1", "digest\\-file"), ("yadokari-push.1", "destination"), ("yadokari-doctor.1", "json")]
    {
        let text =
            fs::read_to_string(scratch.join("pages").join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.starts_with(".ie") && text.contains(".TH") && text.contains(flag), "{page}:\n{text}");
    }
}
