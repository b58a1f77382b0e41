//! Containers as a cluster gives them to a step: podman with runc, and nothing a pod would not have.
//!
//! *Invariant: every pod has a pid namespace and a root of its own; it sees of the machine only the network and
//! what `mount` names.*

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::process::{self, Finished, LONG, Running, SHORT};
use super::scratch::{self, Scratch};

/// The built executor; static, so that it runs in an image that holds nothing else.
pub(crate) const EXECUTOR: &str = env!("CARGO_BIN_EXE_yadokari");

const IMAGE: &str = "localhost/executor:latest";

/// Who starts pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    /// A Task's step.
    Tekton,
    /// A template's container.
    Argo,
    /// A step of Google Cloud Build.
    CloudBuild,
    /// A container beside the agent.
    Jenkins,
    /// The build container of the Kubernetes executor.
    GitLab,
}

impl System {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::Tekton, Self::Argo, Self::CloudBuild, Self::Jenkins, Self::GitLab];

    /// Returns the directories that are mounted, and whether they are writable.
    fn mounts(self) -> &'static [(&'static str, bool)] {
        const ACCOUNT: (&str, bool) = ("/var/run/secrets/kubernetes.io/serviceaccount", false);
        match self {
            Self::Tekton => {
                const {
                    &[
                        ACCOUNT,
                        ("/tekton/home", true),
                        ("/tekton/results", true),
                        ("/tekton/run/0", true),
                        ("/tekton/bin", false),
                    ]
                }
            }
            Self::Argo => const { &[ACCOUNT, ("/var/run/argo", true), ("/argo/secret", false)] },
            Self::CloudBuild => const { &[("/builder/home", true), ("/builder/outputs", true)] },
            Self::Jenkins => const { &[ACCOUNT, ("/home/jenkins/agent", true)] },
            Self::GitLab => const { &[ACCOUNT, ("/builds", true), ("/scripts-1-2", true), ("/logs-1-2", true)] },
        }
    }
}

/// A container in the making.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    arguments: Vec<String>,
    name: String,
    network: bool,
}

impl Pod {
    /// An ordinary pod: root with containerd's 14 default capabilities and a profile like RuntimeDefault.
    pub(crate) fn plain() -> Self {
        // podman's own default set lacks these three of containerd's.
        let mut pod = Self::bare();
        pod.add(&["--cap-add=AUDIT_WRITE,MKNOD,NET_RAW"]).seccomp("seccomp.json")
    }

    /// The same, but the profile lets it make namespaces and mount in them.
    pub(crate) fn unshare_allowed() -> Self {
        let mut pod = Self::bare();
        // The kernel lets no container mount a fresh /proc while parts of its own are masked.
        pod.add(&["--cap-add=AUDIT_WRITE,MKNOD,NET_RAW"]).seccomp("seccomp-unshare.json")
    }

    /// Privileged in all that counts, but user namespaces are refused.
    pub(crate) fn without_user_namespaces() -> Self {
        let mut pod = Self::bare();
        pod.add(&["--cap-add=AUDIT_WRITE,MKNOD,NET_RAW,SYS_ADMIN"]).seccomp("seccomp-no-userns.json")
    }

    /// The same without any profile, as runtimes are that have no default one.
    pub(crate) fn unconfined() -> Self {
        let mut pod = Self::bare();
        pod.add(&["--cap-add=AUDIT_WRITE,MKNOD,NET_RAW", "--security-opt=seccomp=unconfined"])
    }

    /// Nothing but the profile: user, capabilities and the rest are the caller's.
    pub(crate) fn strict() -> Self {
        Self::bare().seccomp("seccomp.json")
    }

    /// As strict as the `restricted` Pod Security Standard, with a read-only root besides.
    pub(crate) fn restricted() -> Self {
        let mut pod = Self::bare();
        pod.add(&["--user=65532:65532", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only"])
            .add(&["--read-only-tmpfs=false"])
            .seccomp("seccomp.json")
    }

    /// An ordinary pod with what a system mounts into each container of its own accord, the context's volume at
    /// `/workspace` left out. Of each volume, the directory that stands for it is `volumes/<its path>`.
    pub(crate) fn of(system: System, volumes: &Scratch) -> Self {
        let mut pod = Self::plain();
        for (path, is_writable) in system.mounts() {
            let outside = volumes.directory(&path[1..]);
            let mode = if *is_writable { "rw" } else { "ro" };
            pod.add(&[&format!("--volume={}:{path}:{mode}", outside.display())]);
        }
        pod
    }

    /// Adds options of `podman run`.
    pub(crate) fn add(&mut self, options: &[&str]) -> Self {
        self.arguments.extend(options.iter().map(|&option| option.to_owned()));
        self.clone()
    }

    /// Takes a system call from its profile: what asks for it gets EPERM.
    pub(crate) fn without_call(&mut self, call: &str) -> Self {
        let profile = self.arguments.iter().rev().find_map(|option| option.strip_prefix("--security-opt=seccomp="));
        let text = fs::read_to_string(profile.expect("it has one")).expect("a profile");
        assert!(text.contains(&format!("\"{call}\"")) && !text.contains("\"defaultAction\": \"SCMP_ACT_ALLOW\""));
        let text = text.replace(&format!("\"{call}\","), "").replace(&format!("\"{call}\""), "\"read\"");
        let path = scratch::root().join(format!("seccomp-{}-without-{call}.json", self.name));
        fs::write(&path, text).expect("writes");
        self.add(&[&format!("--security-opt=seccomp={}", path.display())])
    }

    /// Cuts it off from every network.
    pub(crate) fn without_network(self) -> Self {
        Self { network: false, ..self }
    }

    /// Shows a file or directory of the machine inside, read-only.
    pub(crate) fn mount(&mut self, outside: &Path, inside: &str) {
        self.add(&[&format!("--volume={}:{inside}:ro", outside.display())]);
    }

    /// Shows a directory of the machine inside, writable.
    pub(crate) fn mount_writable(&mut self, outside: &Path, inside: &str) {
        self.add(&[&format!("--volume={}:{inside}:rw", outside.display())]);
    }

    /// Returns why no pod can be run here; `None` when they can.
    pub(crate) fn missing() -> Option<String> {
        static MISSING: OnceLock<Option<String>> = OnceLock::new();
        MISSING
            .get_or_init(|| {
                if Command::new("podman").arg("--version").output().is_err() {
                    return Some("podman is not installed".to_owned());
                }
                let finished = Self::plain().run(&["/busybox/sh", "-c", "true"], SHORT);
                (finished.code != 0).then(|| format!("podman cannot run a container: {}", finished.stderr.trim()))
            })
            .clone()
    }

    /// Runs a program of the executor's image to its end.
    pub(crate) fn run(&self, program: &[&str], limit: Duration) -> Finished {
        self.start(program).wait(limit)
    }

    /// Starts a program of the executor's image.
    pub(crate) fn start(&self, program: &[&str]) -> Running {
        self.start_image(executor_image(), program)
    }

    /// Starts a program of any image that podman can find.
    pub(crate) fn start_image(&self, image: &str, program: &[&str]) -> Running {
        let mut command = podman();
        command.args(["run", "--rm", "--http-proxy=false", "--pull=missing", "--tls-verify=false"]);
        command.args(["--ulimit=nofile=4096:4096", "--ulimit=nproc=1024:1024"]);
        command.arg(format!("--network={}", if self.network { "host" } else { "none" }));
        command.arg(format!("--name={}", self.name)).args(&self.arguments).arg(image).args(program);
        process::start(&mut command)
    }

    /// Tells whether the first process in the container runs.
    pub(crate) fn is_running(&self) -> bool {
        let mut command = podman();
        let inspected = process::run(command.args(["inspect", "--format={{.State.Running}}", &self.name]), SHORT);
        inspected.stdout.trim() == "true"
    }

    /// Sends a signal to the first process in the container.
    pub(crate) fn signal(&self, signal: &str) {
        process::run(podman().args(["kill", "--signal", signal, &self.name]), SHORT).success();
    }

    fn bare() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("pod-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self { arguments: Vec::new(), name, network: true }
    }

    fn seccomp(&mut self, profile: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support").join(profile);
        self.add(&[&format!("--security-opt=seccomp={}", path.display())])
    }
}

/// Returns podman with storage of its own on tmpfs.
pub(crate) fn podman() -> Command {
    let storage = scratch::root().join("podman");
    let mut command = Command::new("podman");
    // podman wants the path of its run root to be shorter than 50 characters.
    command.arg("--root").arg(storage.join("root")).arg("--runroot").arg(scratch::root().join("pr"));
    command.arg("--tmpdir").arg(storage.join("tmp"));
    // conmon leaves a file where it stands when the kernel has killed a container for memory.
    command.current_dir(scratch::root());
    command.args(["--storage-driver=overlay", "--runtime=runc", "--cgroup-manager=cgroupfs", "--events-backend=none"]);
    command
}

/// Imports, once, the image of the executor: `/kaniko/executor`, and a shell below `/busybox` as kaniko's debug
/// image has it.
fn executor_image() -> &'static str {
    static IMPORTED: OnceLock<()> = OnceLock::new();
    IMPORTED.get_or_init(|| import(&Scratch::new("executor-image"), IMAGE));
    IMAGE
}

/// Imports an image of the executor that has the files of a directory, too.
pub(crate) fn import(files: &Scratch, image: &str) {
    let [kaniko, busybox] = ["kaniko", "busybox"].map(|name| files.directory(name));
    copy(Path::new(EXECUTOR), &kaniko.join("executor"));
    copy(Path::new("/bin/busybox"), &busybox.join("busybox"));
    copy(Path::new("/bin/busybox"), &busybox.join("sh"));
    let scratch = Scratch::new("image");
    let tar = scratch.join("image.tar");
    process::run(Command::new("tar").arg("-C").arg(files.path()).arg("-cf").arg(&tar).arg("."), SHORT).success();
    process::run(podman().args(["import", "--quiet"]).arg(&tar).arg(image), LONG).success();
}

fn copy(from: &Path, to: &PathBuf) {
    fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}
