//! The cookbook: the Dockerfile of each language, as it stands in `examples`, builds twice, the second time from its cache
//! mounts, and the program in the image runs.
//!
//! No registry of images is reached here. What stands in for the languages' own images is made once, by the executor, from
//! Debian's packages and PyPI (`tests/cookbook/standins.Dockerfile`), and its layers are kept in the executor's own cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::debian;
use crate::support::executor::{Build, Executor};
use crate::support::image::Image;
use crate::support::isolation::Isolation;
use crate::support::pod::EXECUTOR;
use crate::support::process::{self, SHORT};
use crate::support::registry::{self, PASSWORD};
use crate::support::scratch::Scratch;
use crate::support::skips;
use crate::support::web::Web;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const STANDINS: &str = "tests/cookbook/standins.Dockerfile";
const MACHINE_CERTIFICATES: &str = "/etc/ssl/certs";
const FIRST_TIME: Duration = Duration::from_secs(900);

/// A language's example.
struct Recipe {
    /// The directory in `examples`.
    name: &'static str,
    /// What the Dockerfile says after FROM and `--from=`, and the stage that stands in for it.
    bases: &'static [(&'static str, &'static str)],
    /// The file that a developer changes between the two builds.
    source: &'static str,
    /// What is appended to it: a comment of the language.
    change: &'static str,
    /// The command in the image that says hello.
    hello: &'static str,
    says: &'static str,
    /// Writes what the language's tool writes and the repository does not have.
    lock: Option<fn(&Scratch)>,
}

const PYTHON: Recipe = Recipe {
    name: "python",
    bases: &[("python:3.13-slim", "python")],
    source: "app/main.py",
    change: "# changed\n",
    hello: r#"["python", "-m", "app.main"]"#,
    says: "Hello from Python",
    lock: None,
};

/// The packages are in an index that asks for a password, which is a secret of RUN's.
#[test]
fn python_with_pip() {
    let Some((_web, secret)) = index() else { return };
    let secret = format!("--secret=id=pip,src={}", secret.display());
    let Some([first, second]) = twice(&PYTHON, &[&secret], &[]) else { return };
    assert!(first.stderr.contains("Downloading https://127.0.0.1:"), "{}", first.stderr);
    assert!(second.stderr.contains("Using cached https://127.0.0.1:"), "{}", second.stderr);
    assert!(!second.stderr.contains("Downloading https://127.0.0.1:"), "{}", second.stderr);
}

#[test]
fn python_with_uv() {
    let bases = &[("python:3.13-slim", "python"), ("ghcr.io/astral-sh/uv:0.13", "uv")];
    // The second build has no network: all that it needs is in the cache.
    let recipe = Recipe { name: "python-uv", bases, lock: Some(lock), ..PYTHON };
    twice(&recipe, &[], &["--network=none"]);
}

#[test]
fn node_with_npm() {
    let recipe = Recipe {
        name: "node",
        bases: &[("node:24-slim", "node")],
        source: "server.js",
        change: "// changed\n",
        hello: r#"["node", "server.js", "--check"]"#,
        says: "Hello from Node",
        lock: None,
    };
    twice(&recipe, &[], &["--network=none"]);
}

#[test]
fn go() {
    let recipe = Recipe {
        name: "go",
        bases: &[("golang:1.27", "golang"), ("gcr.io/distroless/static:nonroot", "static")],
        source: "main.go",
        change: "// changed\n",
        hello: r#"["/hello"]"#,
        says: "Hello from Go",
        lock: None,
    };
    let Some([first, second]) = twice(&recipe, &[], &["--network=none"]) else { return };
    assert!(
        first.stderr.contains("encoding/json\n") && first.stderr.contains("example.com/hello\n"),
        "{}",
        first.stderr
    );
    assert!(!second.stderr.contains("encoding/json\n"), "it is compiled again: {}", second.stderr);
    assert!(second.stderr.contains("example.com/hello\n"), "{}", second.stderr);
}

#[test]
fn rust() {
    let recipe = Recipe {
        name: "rust",
        bases: &[("rust:1-slim-bookworm", "rust"), ("debian:bookworm-slim", "debian")],
        source: "src/main.rs",
        change: "// changed\n",
        hello: r#"["hello", "--check"]"#,
        says: "Hello from Rust",
        lock: None,
    };
    // All sources have the same time in both builds: Cargo must see the change all the same.
    let Some([first, second]) = twice(&recipe, &["--reproducible"], &["--network=none"]) else { return };
    assert!(first.stderr.contains("Compiling tiny_http"), "{}", first.stderr);
    assert!(!second.stderr.contains("Compiling tiny_http"), "it is compiled again: {}", second.stderr);
    assert!(second.stderr.contains("Compiling hello"), "{}", second.stderr);
}

#[test]
fn java_with_maven() {
    let recipe = Recipe {
        name: "java",
        bases: &[("maven:3-eclipse-temurin-21", "java"), ("eclipse-temurin:21-jre", "java")],
        source: "src/main/java/com/example/Hello.java",
        change: "// changed\n",
        hello: r#"["java", "-jar", "hello.jar", "--check"]"#,
        says: "Hello from Java",
        lock: None,
    };
    let Some([first, second]) = twice(&recipe, &[], &["--network=none"]) else { return };
    assert!(first.stderr.contains("Downloading from"), "{}", first.stderr);
    assert!(!second.stderr.contains("Downloading from"), "{}", second.stderr);
    assert!(second.stderr.contains("BUILD SUCCESS"), "{}", second.stderr);
}

#[test]
fn php_with_composer() {
    let recipe = Recipe {
        name: "php",
        bases: &[("composer:2", "php"), ("php:8.4-fpm", "php")],
        source: "src/Hello.php",
        change: "// changed\n",
        hello: r#"["php", "public/index.php"]"#,
        says: "Hello from PHP",
        lock: None,
    };
    twice(&recipe, &[], &["--network=none"]);
}

/// Neither .NET's packages nor Gradle's are reached: their Dockerfiles are planned, not built.
#[test]
fn dotnet_and_gradle_are_planned() {
    let rows: [(&str, &str, [&str; 2], &str); 2] = [
        (
            "dotnet",
            "Dockerfile",
            ["mcr.microsoft.com/dotnet/sdk:9.0", "mcr.microsoft.com/dotnet/aspnet:9.0"],
            "reads cache /root/.nuget/packages",
        ),
        ("java", "Dockerfile.gradle", ["gradle:8-jdk21", "eclipse-temurin:21-jre"], "reads cache /cache"),
    ];
    if !Isolation::Namespace.allowed("cookbook: plans") {
        return;
    }
    let Some(layout) = standin("dotnet") else { return };
    let state = Scratch::new("state");
    for (name, dockerfile, bases, expected) in rows {
        let context = format!("{ROOT}/examples/{name}");
        let mut plan = Command::new(EXECUTOR);
        plan.args(["plan", "--context", &context, "--dockerfile", &format!("{context}/{dockerfile}")]);
        plan.args(bases.map(|base| format!("--build-context={base}=oci-layout://{}", layout.display())));
        plan.arg(format!("--state-dir={}", state.path().display()));
        let planned = process::run(&mut plan, SHORT);
        assert_eq!(planned.code, 0, "{name}: {}", planned.stderr);
        assert!(planned.stdout.contains(expected), "{name}: {}", planned.stdout);
        assert!(!planned.stderr.contains("warning"), "{name}: {}", planned.stderr);
    }
}

/// What the page shows is what is built, and `check` finds nothing in it.
#[test]
fn the_page_shows_the_dockerfiles_as_they_are() {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/cookbook.md")).expect("it is there");
    let mut find = Command::new("find");
    find.current_dir(ROOT).args(["examples", "-mindepth", "2", "-name", "Dockerfile*"]).args([
        "-not",
        "-path",
        "*quickstart*",
    ]);
    let found = process::run(&mut find, SHORT).success();
    assert_eq!(found.lines().count(), 9, "{found}");
    for file in found.lines() {
        let path = Path::new(ROOT).join(file);
        let text = fs::read_to_string(&path).expect("it was found");
        assert!(
            page.contains(&format!("```dockerfile\n{text}```\n")),
            "docs/cookbook.md does not show {file} as it is"
        );
        let context = Scratch::new("page");
        let directory = path.parent().expect("it has one");
        process::run(Command::new("cp").arg("-rT").arg(directory).arg(context.path()), SHORT).success();
        // `uv lock` writes it; see `lock`.
        context.file("uv.lock", "");
        let mut check = Command::new(EXECUTOR);
        check.args(["check", "--offline", "--error", "--context"]).arg(context.path());
        let checked = process::run(check.arg("--dockerfile").arg(&path), SHORT);
        assert_eq!(checked.code, 0, "{file}: {}{}", checked.stdout, checked.stderr);
    }
}

/// Builds an example with some flags, changes a source, and builds it again with further ones and with a last RUN.
fn twice(recipe: &Recipe, flags: &[&str], again: &[&str]) -> Option<[Build; 2]> {
    let name = recipe.name;
    if !Isolation::Namespace.allowed(&format!("cookbook: {name}")) {
        return None;
    }
    let bases: Option<Vec<_>> = recipe.bases.iter().map(|(base, stage)| Some((*base, standin(stage)?))).collect();
    let contexts: Vec<_> = bases?
        .iter()
        .map(|(base, layout)| format!("--build-context={base}=oci-layout://{}", layout.display()))
        .collect();
    let contexts: Vec<_> = contexts.iter().map(String::as_str).collect();
    let (source, mounts) = (context(recipe), Scratch::new("mounts"));
    if let Some(lock) = recipe.lock {
        lock(&source);
    }
    let mounts = format!("--cache-mounts={}", mounts.path().display());
    let build = |further: &[&str]| {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        let build = executor.add(&contexts).add(&[&mounts]).add(flags).add(further).only_layout().run().expect(0);
        // For docs/cookbook.md, with --nocapture.
        for line in build.stderr.lines().filter(|line| line.contains(" done in ") || line.starts_with("time ")) {
            println!("{name}: {line}");
        }
        build
    };
    let first = build(&[]);
    let changed = source.join("context").join(recipe.source);
    let text = fs::read_to_string(&changed).expect("it was copied");
    fs::write(&changed, text + recipe.change).expect("ours");
    runs_as_nobody_special(recipe, &first);
    // The second time the program says hello, too, as the image's user and in the image's directory.
    let dockerfile = source.join("Dockerfile");
    let text = fs::read_to_string(&dockerfile).expect("it was copied");
    fs::write(&dockerfile, format!("{text}RUN {}\n", recipe.hello)).expect("ours");
    let second = build(again);
    assert!(second.stderr.contains(recipe.says), "{name}: {}", second.stderr);
    Some([first, second])
}

/// Copies an example to where builds have their context.
fn context(recipe: &Recipe) -> Scratch {
    let scratch = Scratch::new("cookbook");
    let example = Path::new(ROOT).join("examples").join(recipe.name);
    process::run(Command::new("cp").arg("-r").arg(&example).arg(scratch.join("context")), SHORT).success();
    fs::copy(example.join("Dockerfile"), scratch.join("Dockerfile")).expect("each example has one");
    scratch
}

/// Starts an index of packages with what the Python example needs; returns the settings of pip with the password, too.
fn index() -> Option<(Web, PathBuf)> {
    let layout = standin("wheels")?;
    let web = Web::start();
    let root = web.scratch.join("root");
    tar::Archive::new(Image::from_layout(&layout).open(0)).unpack(&root).expect("a layer is a tar");
    for wheel in fs::read_dir(root.join("wheels")).expect("they were unpacked").flatten() {
        let file = wheel.file_name().to_string_lossy().into_owned();
        let project = file.split('-').next().expect("a wheel's name begins with its project's");
        web.scratch
            .file(&format!("root/simple/{project}/index.html"), format!("<a href=\"../../wheels/{file}\">{file}</a>"));
    }
    let settings = format!(
        "[global]\nindex-url = https://builder:{PASSWORD}@{0}/index/simple/\ntrusted-host = {0}\n",
        web.address
    );
    let settings = web.scratch.file("pip.conf", settings);
    Some((web, settings))
}

/// Lets uv write its lock file, which names the index that this machine reaches.
fn lock(source: &Scratch) {
    let dockerfile = "FROM python AS lock\nCOPY --from=uv /uv /bin/\nCOPY pyproject.toml .\nRUN uv lock\n\
                      FROM scratch\nCOPY --from=lock /uv.lock /uv.lock\n";
    let scratch = Scratch::new("lock");
    scratch.file("Dockerfile", dockerfile);
    fs::rename(source.path().join("context"), scratch.join("context")).expect("ours");
    let mut executor = Executor::new(Isolation::Namespace, scratch.path());
    for stage in ["python", "uv"] {
        let layout = standin(stage).expect("the build has it, too");
        executor.add(&[&format!("--build-context={stage}=oci-layout://{}", layout.display())]);
    }
    let build = executor.only_layout().run().expect(0);
    let image = build.image();
    fs::rename(scratch.join("context"), source.path().join("context")).expect("ours");
    let mut archive = tar::Archive::new(image.open(0));
    let mut entries = archive.entries().expect("a layer is a tar").map(|entry| entry.expect("it is whole"));
    let mut entry =
        entries.find(|entry| entry.path().is_ok_and(|path| path.ends_with("uv.lock"))).expect("it is there");
    entry.unpack(source.join("context/uv.lock")).expect("ours");
}

/// Looks at the user whom an image runs as.
fn runs_as_nobody_special(recipe: &Recipe, build: &Build) {
    let user = build.image().runtime_config()["User"].as_str().unwrap_or_default().to_owned();
    assert!(!["", "0", "root"].contains(&user.as_str()), "{}: the image runs as {user:?}", recipe.name);
}

/// Returns the OCI layout of a stand-in, or notes that there is none.
fn standin(stage: &str) -> Option<PathBuf> {
    static ALL: OnceLock<Result<(), String>> = OnceLock::new();
    let all = "uv,wheels,node,golang,static,rust,java,php,dotnet,debian";
    if let Err(reason) = ALL.get_or_init(|| make(all, None)) {
        skips::skip(&format!("cookbook: {stage}"), reason);
        return None;
    }
    static LAYOUTS: OnceLock<Scratch> = OnceLock::new();
    let layouts = LAYOUTS.get_or_init(|| Scratch::new("standins"));
    let layout = layouts.join(stage);
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if !layout.exists() {
        make(stage, Some(&layout)).expect("its layers are in the cache");
    }
    Some(layout)
}

/// Makes the stand-ins of these stages; what was made before is in the cache.
fn make(stages: &str, layout: Option<&Path>) -> Result<(), String> {
    let base = debian::base()?;
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cookbook");
    let scratch = Scratch::new("standins");
    let sysroot = process::run(Command::new("rustc").args(["--print", "sysroot"]), SHORT).success();
    let mut make = Command::new(EXECUTOR);
    make.arg("--context").arg(scratch.directory("context")).arg("--dockerfile").arg(Path::new(ROOT).join(STANDINS));
    make.args(["--target", stages, "--no-push", "--isolation=namespace", "--compression-level=1"]);
    make.args(["--cache".to_owned(), format!("--cache-repo=oci:{}", kept.display())]);
    make.args(debian::proxies());
    make.arg(format!("--state-dir={}", scratch.directory("state").display()));
    make.arg(format!("--build-context=base=docker-image://{base}"));
    make.arg(format!("--insecure-registry={}", registry::shared().address));
    make.arg(format!("--build-context=sysroot={}", sysroot.trim()));
    make.arg(format!("--build-context=certificates={MACHINE_CERTIFICATES}"));
    make.arg(format!("--build-context=requirements={ROOT}/examples/python"));
    if let Some(layout) = layout {
        make.arg("--oci-layout-path").arg(layout);
    }
    let finished = process::run(&mut make, FIRST_TIME);
    let told = finished.stderr.lines().rev().find(|line| line.starts_with("error: ") || line.contains("rror: "));
    let why = told.unwrap_or("the executor does not say why");
    if finished.code == 0 { Ok(()) } else { Err(format!("{STANDINS}: {why}")) }
}
