//! A release, made of the binary at hand against a registry on loopback: its archive works elsewhere by its own README, and
//! what installs and calls it (script, GitHub Action, GitLab component, Jenkins step) does so step by step.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use crate::documents::{self, Fate};
use crate::pipelines_files::{check, python};
use crate::pipelines_images::{document, texts};
use crate::pipelines_samples::{checkout, job};
use crate::support::bases;
use crate::support::isolation::Isolation;
use crate::support::pod::{EXECUTOR, Pod};
use crate::support::process::{self, LONG, SHORT, Service, wait_until};
use crate::support::registry::{self, Registry, free_address};
use crate::support::scratch::Scratch;
use crate::support::signatures::{ecdsa, openssl};
use crate::support::skips::skip;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What stands for the list of crates of the binary.
const CRATES: &str = concat!(
    r#"{"packages":[{"name":"git2","version":"0.21.0","source":"crates.io"},"#,
    r#"{"name":"yadokari","version":"0.1.0","source":"local","root":true,"dependencies":[0]}]}"#
);
/// The images, and what their tags end with.
const IMAGES: [(&str, &str); 3] = [("executor", ""), ("debug", "-debug"), ("ci", "-ci")];

/// What the throwaway key's file is encrypted with.
const KEY_PASSWORD: &str = "battery staple";

/// A release of one platform.
pub(crate) struct Release {
    output: Scratch,
    pub(crate) registry: Registry,
}

/// Makes the release, once; none where the machine does not let images with RUN be built.
pub(crate) fn release(what: &str) -> Option<&'static Release> {
    static MADE: OnceLock<Release> = OnceLock::new();
    if !Isolation::Namespace.allowed(what) || python(what).is_none() {
        return None;
    }
    if std::env::consts::ARCH != "x86_64" {
        skip(what, "the test makes a release of amd64 alone");
        return None;
    }
    Some(MADE.get_or_init(|| {
        let made = Release { output: Scratch::new("release"), registry: Registry::plain() };
        let binary = made.output.directory("bin").join("yadokari-amd64");
        // As a release is: without what a debugger needs, with the list of crates that `cargo auditable` writes.
        let crates = made.output.file("crates.json", CRATES);
        let compress = "import sys, zlib; sys.stdout.buffer.write(zlib.compress(open(sys.argv[1], 'rb').read()))";
        let section = made.output.join("crates");
        let script = format!("python3 -c \"$1\" {} > {}", crates.display(), section.display());
        process::run(Command::new("sh").args(["-c", &script, "sh", compress]), SHORT).success();
        let mut objcopy = Command::new("objcopy");
        objcopy.arg("--strip-all").arg(format!("--add-section=.dep-v0={}", section.display()));
        process::run(objcopy.arg(EXECUTOR).arg(&binary), SHORT).success();
        let key = made.output.join("release.key").display().to_string();
        let curve = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-aes256"];
        openssl(&[&curve[..], &["-pass", &format!("pass:{KEY_PASSWORD}"), "-out", &key]].concat());
        for words in [["images", "amd64"], ["assemble", "amd64"]] {
            let mut command = Command::new("bash");
            command.arg(Path::new(ROOT).join("release/release.sh")).args(words);
            let insecure = |registry: &Registry| format!("--insecure-registry={}", registry.address);
            command.env("ARGUMENTS", [insecure(&made.registry), insecure(registry::shared())].join(" "));
            let state = made.output.join("state").display().to_string();
            let busybox = bases::base("BASE").reference;
            command.env("BUILD_ARGUMENTS", format!("--build-arg=BUSYBOX={busybox} --state-dir={state}"));
            // The image `ci` installs Debian's packages from the network: here a copy of `debug` stands for it.
            let images = IMAGES.map(|(image, _)| image);
            let images = if words[0] == "images" { &images[..2] } else { &images[..] };
            command.env("OUTPUT", made.output.path()).env("IMAGES", images.join(" "));
            command.env("REPOSITORY", made.registry.repository("tools/executor"));
            command.env("SIGN", &key).env("COSIGN_PASSWORD", KEY_PASSWORD);
            process::run(&mut command, LONG).success();
            if words[0] == "images" {
                let place = |image: &str| made.registry.repository(&format!("tools/executor:{VERSION}-{image}-amd64"));
                let mut copy = Command::new("skopeo");
                copy.args(["copy", "--src-tls-verify=false", "--dest-tls-verify=false"]);
                copy.args(["debug", "ci"].map(|image| format!("docker://{}", place(image))));
                process::run(&mut copy, SHORT).success();
            }
        }
        made
    }))
}

impl Release {
    /// Returns the path of one of its files.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.output.join("files").join(name)
    }

    pub(crate) fn archive(&self) -> PathBuf {
        self.file(&format!("yadokari-{VERSION}-linux-amd64.tar.gz"))
    }

    /// Unpacks the archive somewhere else.
    pub(crate) fn unpack(&self, scratch: &Scratch) -> PathBuf {
        process::run(Command::new("tar").arg("-xzf").arg(self.archive()).arg("-C").arg(scratch.path()), SHORT)
            .success();
        scratch.join(format!("yadokari-{VERSION}-linux-amd64"))
    }

    /// Returns the reference of an image, with tag and digest.
    pub(crate) fn reference(&self, suffix: &str) -> String {
        let tagged = format!("tools/executor:{VERSION}{suffix}");
        let digest = self.registry.digest(&tagged).unwrap_or_else(|| panic!("{tagged} was not pushed"));
        format!("{}@{digest}", self.registry.repository(&tagged))
    }

    /// Serves its files over HTTP; the address is that of the directory.
    fn serve(files: &Path, log: &Path) -> (String, Service) {
        let address = free_address();
        let port = address.rsplit_once(':').expect("it has a port").1.to_owned();
        let arguments = ["-m", "http.server", &port, "--bind", "127.0.0.1", "--directory"].map(str::to_owned);
        let arguments: Vec<String> = arguments.into_iter().chain([files.display().to_string()]).collect();
        let service = Service::start("python3", &arguments, log);
        assert!(wait_until(Duration::from_secs(10), || TcpStream::connect(&address).is_ok()), "no server");
        (format!("http://{address}"), service)
    }
}

#[test]
fn a_release_works_elsewhere_by_its_own_readme() {
    let Some(release) = release("release: archive") else { return };
    let scratch = Scratch::new("elsewhere");
    let directory = release.unpack(&scratch);
    let sums =
        Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(release.file("")).output();
    assert!(sums.expect("coreutils").status.success(), "SHA256SUMS does not fit");
    let notes = fs::read_to_string(release.file("NOTES.md")).expect("notes are made");
    assert!(notes.contains("Dockerfile") && !notes.lines().any(|line| line.starts_with("## ")), "{notes}");
    let formula = fs::read_to_string(release.file("yadokari.rb")).expect("a formula is made");
    let sums = fs::read_to_string(release.file("SHA256SUMS")).expect("checksums are made");
    let sum = sums.lines().find_map(|line| line.strip_suffix("-linux-amd64.tar.gz")?.split(' ').next());
    assert!(formula.contains(sum.expect("it is listed")), "{formula}");

    // Each file names an image of this release.
    let files = process::run(
        Command::new("grep").args(["-rhoE", "[^ \"']+/executor:[^ \"'`]+@sha256:[0-9a-f]+"]).arg(&directory),
        SHORT,
    );
    let files = files.success();
    let known = IMAGES.map(|(_, suffix)| release.reference(suffix));
    let found: Vec<&str> = files.lines().collect();
    assert!(found.len() > 20, "{} references", found.len());
    for reference in &found {
        assert!(known.iter().any(|known| known == reference), "{reference} is none of {known:?}");
    }
    let rules = check(python("release: rules").expect("looked for"), &directory, Path::new("none"));
    assert_eq!(rules.code, 0, "{}{}", rules.stdout, rules.stderr);

    // The README's own commands.
    let place = scratch.directory("place");
    let readme = documents::blocks(&directory.join("README.md"));
    let registries = scratch.file("registries.conf", insecure(&release.registry.address));
    fs::write(directory.join("Dockerfile"), "FROM scratch\nCOPY LICENSE /\n").expect("writes");
    let mut said = String::new();
    for block in readme.iter().filter(|block| block.fate == Fate::Run) {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", &block.text]).current_dir(&directory);
        command.env("IMAGE", release.registry.repository("team/app:1")).env("PREFIX", &place);
        command.env("KANIKO_DIR", scratch.join("state")).env("CONTAINERS_REGISTRIES_CONF", &registries);
        fs::create_dir_all(place.join("bin")).expect("makes");
        said += &process::run(&mut command, SHORT).success();
    }
    assert!(said.contains(&format!("yadokari {VERSION}")) && said.contains("Isolations"), "{said}");
    let digest = release.registry.digest("team/app:1").expect("it was pushed");
    assert!(said.ends_with(&digest), "{digest} is not the end of\n{said}");
    assert!(place.join("bin/yadokari").exists());
    for page in ["share/man/yadokari.1", "share/completions/_yadokari", "NOTICE", "LICENSE"] {
        assert!(directory.join(page).exists(), "{page}");
    }
    // And the image that the files name.
    if Isolation::Container.allowed("release: image") {
        let said = Pod::plain().start_image(&release.reference(""), &["version"]).wait(LONG);
        assert_eq!(said.stdout, format!("yadokari {VERSION}\n"), "{}", said.stderr);
    }
}

fn insecure(address: &str) -> String {
    format!("[[registry]]\nlocation = \"{address}\"\ninsecure = true\n")
}

#[test]
fn the_install_script_installs_what_has_the_right_checksum_and_nothing_else() {
    let Some(release) = release("release: install") else { return };
    let scratch = Scratch::new("install");
    let copy = scratch.directory("files");
    let archive = format!("yadokari-{VERSION}-linux-amd64.tar.gz");
    for name in ["SHA256SUMS", "SHA256SUMS.sig", "yadokari.pub", &archive] {
        fs::copy(release.file(name), copy.join(name)).expect("copies");
    }
    let (address, _service) = Release::serve(&copy, &scratch.join("log"));
    let key = |name: &str| copy.join(name).display().to_string();
    let install = |prefix: &str, key: &str| {
        let mut command = Command::new("sh");
        command.arg(Path::new(ROOT).join("release/install.sh")).env("YADOKARI_DOWNLOADS", &address);
        command.env("YADOKARI_PUBLIC_KEY", key);
        process::run(command.env("PREFIX", scratch.join(prefix)).env("TMPDIR", scratch.directory("tmp")), SHORT)
    };
    for key in [key("yadokari.pub"), String::new()] {
        let said = install("good", &key).success();
        assert!(said.starts_with(&format!("installed yadokari {VERSION} as ")), "{said}");
    }
    assert_eq!(
        fs::metadata(scratch.join("good/bin/yadokari")).expect("it is there").permissions().mode() & 0o777,
        0o755
    );
    let (_, others) = ecdsa(&scratch, "others");
    let refused = install("bad", &others);
    assert!(refused.code != 0 && refused.stderr.contains("is not signed with"), "{}", refused.stderr);
    assert!(!scratch.join("bad").exists(), "something was installed");
    let mut bytes = fs::read(copy.join(&archive)).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(copy.join(&archive), bytes).expect("writes");
    let refused = install("bad", "");
    assert_ne!(refused.code, 0, "{}", refused.stdout);
    assert!(refused.stderr.contains("nothing was installed"), "{}", refused.stderr);
    assert!(!scratch.join("bad").exists(), "something was installed");
    fs::remove_file(copy.join(&archive)).expect("it is there");
    assert_ne!(install("bad", "").code, 0);
    assert!(!scratch.join("bad").exists(), "something was installed");
    assert_eq!(fs::read_dir(scratch.join("tmp")).expect("it is there").count(), 0, "files are left");
}

#[test]
fn the_action_for_github_installs_builds_and_tells() {
    let Some(release) = release("release: action") else { return };
    let Some(action) = document("action.yml") else { return };
    let (sources, scratch) = (checkout(), Scratch::new("action"));
    let dockerfile = "FROM scratch\nARG WORDS\nLABEL words=$WORDS\nCOPY file /file\n";
    sources.file("Dockerfile", dockerfile);
    let (address, _service) = Release::serve(&release.file(""), &scratch.join("log"));
    let outputs = scratch.file("output", "");
    let path = scratch.file("path", "");
    let name = release.registry.repository("team/action:1");
    let given = BTreeMap::from([
        ("inputs.destinations", name.clone()),
        ("inputs.build-args", "WORDS=two words, 'and \"quotes\" $HOME\n".to_owned()),
        ("inputs.labels", "a=b\n\nc=d e".to_owned()),
        ("inputs.arguments", format!("--state-dir={}\n", scratch.join("state").display())),
        ("github.workspace", sources.path().display().to_string()),
        ("github.action_path", ROOT.to_owned()),
        ("runner.temp", scratch.path().display().to_string()),
    ]);
    for step in action["runs"]["steps"].as_array().expect("it has steps") {
        let added = fs::read_to_string(&path).expect("it is there");
        let mut command = Command::new("sh");
        command.args(["-e", "-c"]).args(texts(&step["run"])).env_clear().current_dir(sources.path());
        command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", added.trim()));
        command.env("GITHUB_OUTPUT", &outputs).env("GITHUB_PATH", &path).env("YADOKARI_DOWNLOADS", &address);
        command.env("CONTAINERS_REGISTRIES_CONF", scratch.file("registries.conf", insecure(&release.registry.address)));
        for (variable, value) in step["env"].as_object().expect("it has variables") {
            command.env(variable, evaluated(value.as_str().expect("text"), &given, &action["inputs"]));
        }
        process::run(&mut command, LONG).success();
    }
    let told = fs::read_to_string(&outputs).expect("it is there");
    let digest = release.registry.digest("team/action:1").expect("it was pushed");
    for (output, expression) in [("digest", "digest"), ("ref", "image-ref"), ("metadata", "metadata")] {
        let value = action["outputs"][output]["value"].as_str().unwrap_or_default();
        assert_eq!(value, format!("${{{{ steps.build.outputs.{expression} }}}}"));
        let lines = told
            .lines()
            .any(|line| line.starts_with(&format!("{expression}=")) || line.starts_with(&format!("{expression}<<")));
        assert!(lines, "{expression} is not told:\n{told}");
    }
    assert!(
        told.contains(&format!("digest={digest}\n"))
            && told.contains(&format!("image-ref={}@{digest}\n", release.registry.repository("team/action"))),
        "{told}"
    );
    let pulled = Scratch::new("pulled");
    release.registry.pull("team/action:1", pulled.path());
    let labels = crate::support::image::Image::from_layout(pulled.path()).runtime_config()["Labels"].clone();
    assert_eq!(labels["words"], "two words, 'and \"quotes\" $HOME", "{labels}");
    assert_eq!((&labels["a"], &labels["c"]), (&Value::from("b"), &Value::from("d e")), "{labels}");
}

/// Puts values into the expressions of a text: what is given, else an input's default.
fn evaluated(text: &str, given: &BTreeMap<&str, String>, inputs: &Value) -> String {
    let mut parts = text.split("${{ ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (expression, rest) = part.split_once(" }}").expect("an expression ends");
        let default = expression.strip_prefix("inputs.").and_then(|name| inputs[name]["default"].as_str());
        let value = given.get(expression).cloned().or_else(|| default.map(|text| evaluated(text, given, inputs)));
        out += &(value.unwrap_or_else(|| panic!("{expression} has no value")) + rest);
    }
    out
}

#[test]
fn the_component_for_gitlab_runs() {
    if !Isolation::Container.allowed("release: GitLab component") {
        return;
    }
    let text = fs::read_to_string(Path::new(ROOT).join("templates/image.yml")).expect("it is there");
    let Some(header) = document("templates/image.yml") else { return };
    let (_, body) = text.split_once("\n---\n").expect("inputs, and a job");
    let mut body = body.to_owned();
    for (name, input) in header["spec"]["inputs"].as_object().expect("it has inputs") {
        let value = if name == "arguments" { "--label a=b" } else { input["default"].as_str().expect("a default") };
        body = body.replace(&format!("$[[ inputs.{name} ]]"), value);
    }
    assert!(!body.contains("$[["), "{body}");
    let scratch = Scratch::new("component");
    let file = scratch.file("job.yml", &body);
    let Some(jobs) = document(&file.display().to_string()) else { return };
    let (registry, sources, place) = (Registry::plain(), checkout(), "/builds/team/app");
    let name = registry.repository("team/app");
    let variables = [("CI_PROJECT_DIR", place), ("CI_REGISTRY_IMAGE", &*name), ("CI_COMMIT_SHORT_SHA", "1a2b3c4d")];
    job(&sources, place, &variables, &texts(&jobs["image"]["script"]));
    let digest = registry.digest("team/app:1a2b3c4d").expect("it was pushed");
    let report = fs::read_to_string(sources.join("build.env")).expect("the job names it as its report");
    assert!(report.contains(&digest), "{report}");
    assert_eq!(jobs["image"]["artifacts"]["reports"]["dotenv"], "build.env");
}

#[test]
fn the_step_for_jenkins_builds_in_the_debug_image() {
    if !Isolation::Container.allowed("release: Jenkins step") {
        return;
    }
    let groovy = fs::read_to_string(Path::new(ROOT).join("vars/yadokariBuild.groovy")).expect("it is there");
    let script = fs::read_to_string(Path::new(ROOT).join("resources/yadokari/build.sh")).expect("it is there");
    // Each variable that the step sets is one that the script reads.
    let set = groovy.split("\"YADOKARI_").skip(1).filter_map(|rest| rest.split('=').next());
    let mut count = 0;
    for name in set {
        assert!(script.contains(&format!("${{YADOKARI_{name}:-}}")), "{name} is read by nobody");
        count += 1;
    }
    assert!(count > 10, "{count} variables");
    let (registry, sources, place) = (Registry::plain(), checkout(), "/home/jenkins/agent/workspace/app");
    let image = registry.repository("team/app:7");
    let variables = [
        ("YADOKARI_CONTEXT", place),
        ("YADOKARI_DESTINATIONS", &*image),
        ("YADOKARI_ARGUMENTS", "--digest-file=/home/jenkins/agent/workspace/app/x.digest\n"),
    ];
    job(&sources, place, &variables, &[script]);
    let digest = fs::read_to_string(sources.join("x.digest")).expect("the step reads it");
    assert_eq!(Some(digest), registry.digest("team/app:7"));
}
