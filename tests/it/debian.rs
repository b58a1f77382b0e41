//! A real distribution: a Debian root, and a package installed in it from the machine's own mirror.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use serde_json::json;

use crate::support::bases;
use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::listing::Listing;
use crate::support::process::{self, SHORT};
use crate::support::scratch::{Scratch, variable};
use crate::support::skips;
use crate::support::source::source;

const RELEASE: &str = "bookworm";
const BOOTSTRAP: Duration = Duration::from_secs(900);

#[test]
fn a_package_is_installed_in_namespace_isolation() {
    installs(Isolation::Namespace);
}

#[test]
fn a_package_is_installed_in_container_isolation() {
    installs(Isolation::Container);
}

fn installs(isolation: Isolation) {
    let what = "debian: apt-get install";
    if !isolation.allowed(what) {
        return;
    }
    let base = match base() {
        Ok(base) => base,
        Err(reason) => return skips::skip(&format!("{what} in {}", isolation.name()), &reason),
    };
    let dockerfile = format!(
        "FROM {base}
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends hello && rm -rf /var/lib/apt/lists/*
RUN hello > /greeting && dpkg --verify && dpkg-query -W -f '${{Status}}\\n' hello > /status
RUN useradd --create-home sailor && su sailor -c 'touch ~/knot'
"
    );
    let source = source(&dockerfile, &[]);
    let mut executor = Executor::new(isolation, source.path());
    executor.add(&proxies().iter().map(String::as_str).collect::<Vec<_>>());
    let build = executor.only_layout().run().expect(0);
    let image = build.image();
    image.verify();
    assert_eq!(image.layers.len(), 4);
    let listing = Listing::of(&image);
    let line = |path: &str| listing.0.get(path).map(|line| line.text.clone()).unwrap_or_default();
    assert_eq!(line("/greeting"), "file 0644 0:0 \"Hello, world!\\n\"");
    assert_eq!(line("/status"), "file 0644 0:0 \"install ok installed\\n\"");
    assert_eq!(line("/home/sailor/knot"), "file 0644 1000:1000 \"\"");
    let strangers = ["/run/.containerenv", "/kaniko", "/workspace", "/step-results"];
    assert_eq!(strangers.map(line), [""; 4], "what is not the image's is not in it");
}

/// Returns the build arguments by which a RUN reaches what this machine reaches.
pub(crate) fn proxies() -> Vec<String> {
    let names = ["http_proxy", "https_proxy", "no_proxy"];
    names.into_iter().filter_map(|name| Some(format!("--build-arg={name}={}", variable(name)?))).collect()
}

/// Returns the reference of a Debian base in the shared registry, or why there is none.
pub(crate) fn base() -> Result<String, String> {
    static BASE: OnceLock<Mutex<Option<Result<String, String>>>> = OnceLock::new();
    let mut base = BASE.get_or_init(Mutex::default).lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    base.get_or_insert_with(|| {
        let layout = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("debian-{RELEASE}"));
        if !layout.join("index.json").exists() {
            bootstrap(&layout)?;
        }
        Ok(bases::push(&layout, "base/debian"))
    })
    .clone()
}

/// Makes the layout from packages of the machine's mirror.
fn bootstrap(layout: &Path) -> Result<(), String> {
    let mirror = mirror()?;
    let scratch = Scratch::new("debian");
    let root = scratch.join("root");
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", RELEASE]).arg(&root).arg(&mirror);
    let finished = process::run(&mut command, BOOTSTRAP);
    if finished.code != 0 {
        return Err(format!("debootstrap from {mirror}: {}", finished.stdout.lines().last().unwrap_or_default()));
    }
    let settings = apt_settings();
    fs::write(root.join("etc/apt/apt.conf.d/90machine"), settings).expect("scratch is writable");
    let script =
        "rm -rf var/cache/apt/* var/lib/apt/lists/* var/log/*.log dev/* && tar --numeric-owner -cf ../root.tar .";
    process::run(Command::new("sh").args(["-ec", script]).current_dir(&root), SHORT).success();
    let tar = fs::read(scratch.join("root.tar")).expect("it was just made");
    // Its own name until it is whole: a run that is cut off leaves no half base.
    let partial = PathBuf::from(format!("{}.{}", layout.display(), std::process::id()));
    let config = json!({"Env": [bases::PATH], "Cmd": ["bash"]});
    let image = bases::image(&partial, "amd64", &[tar], &config);
    bases::layout(&partial, &[image]);
    fs::rename(&partial, layout).map_err(|error| error.to_string())
}

/// Finds the mirror that this machine installs from.
fn mirror() -> Result<String, String> {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "$(REPO_URI) $(RELEASE)"]);
    let text = process::run(&mut command, SHORT).stdout;
    let wanted = |line: &&str| line.contains("/debian") && !line.contains("security");
    let line = text.lines().find(wanted).ok_or("no Debian mirror in the machine's apt configuration")?;
    Ok(line.split(' ').next().unwrap_or_default().to_owned())
}

/// Returns the machine's settings about proxies and about dates, which its mirror may need.
fn apt_settings() -> String {
    let text = process::run(Command::new("apt-config").arg("dump"), SHORT).stdout;
    let kept = ["Acquire::http", "Acquire::https", "Acquire::Check", "Acquire::Retries"];
    let lines = text.lines().filter(|line| kept.iter().any(|prefix| line.starts_with(prefix)));
    lines.map(|line| format!("{line}\n")).collect()
}
