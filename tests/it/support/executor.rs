//! The built executor, run as a pipeline's step runs it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::clouds::POD;
use super::fronts::REFRESH;
use super::image::Image;
use super::isolation::Isolation;
use super::pod::{EXECUTOR, Pod};
use super::process::{self, Finished, LONG, Running, SHORT};
use super::registry::{self, PASSWORD, Registry, USER};
use super::scratch::{self, Scratch};

// Where a pod's volumes are; the names must not be those that a case's own RUN uses.
const WORKSPACE: &str = "/workspace";
const OUT: &str = "/step-results";
const CREDENTIALS: &str = "/step-credentials";

/// Runs a program and tells the largest resident memory of it and its descendants.
const MEASURE: &str = "import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print('peak memory in KiB:', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)";

/// A run of the executor in the making.
///
/// Paths differ between a run on the machine and one in a pod, so flags that name files go through methods.
#[derive(Debug)]
pub(crate) struct Executor {
    isolation: Isolation,
    pod: Option<Pod>,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    scratch: Scratch,
    source: PathBuf,
    umask: String,
    stdin: PathBuf,
    stdout: Option<String>,
    measured: bool,
    limit: Duration,
    kept: Vec<Scratch>,
    /// Where the sources are in a pod, and how they are mounted.
    volume: (&'static str, bool),
    /// The image of a pod that runs a script, unless it is the usual one.
    image: Option<String>,
}

/// A run that ended.
#[derive(Debug)]
pub(crate) struct Build {
    /// The exit code; 128 + n for a signal.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    scratch: Scratch,
}

/// A run that is still going on.
#[derive(Debug)]
pub(crate) struct Ongoing {
    running: Running,
    pod: Option<Pod>,
    scratch: Scratch,
    limit: Duration,
}

impl Executor {
    /// Prepares a build of `source/Dockerfile` with the context `source/context`.
    pub(crate) fn new(isolation: Isolation, source: &Path) -> Self {
        let pod = match isolation {
            Isolation::Namespace => None,
            Isolation::Container | Isolation::Chroot | Isolation::Auto => Some(Pod::plain()),
            Isolation::Mediated => Some(Pod::restricted()),
        };
        Self::placed(isolation, pod, source)
    }

    /// The same in a pod of the caller's choice.
    pub(crate) fn in_pod(isolation: Isolation, pod: Pod, source: &Path) -> Self {
        Self::placed(isolation, Some(pod), source)
    }

    fn placed(isolation: Isolation, pod: Option<Pod>, source: &Path) -> Self {
        let scratch = Scratch::new("run");
        for name in ["out", "home", "state", "credentials"] {
            scratch.directory(name);
        }
        let mut executor = Self {
            isolation,
            pod,
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            scratch,
            source: source.to_owned(),
            umask: "022".to_owned(),
            stdin: "/dev/null".into(),
            measured: false,
            stdout: None,
            limit: LONG,
            kept: Vec::new(),
            volume: (WORKSPACE, false),
            image: None,
        };
        let source = executor.inside(WORKSPACE, source);
        executor.add(&[
            &format!("--context={source}/context"),
            &format!("--dockerfile={source}/Dockerfile"),
            &format!("--isolation={}", isolation.name()),
        ]);
        if isolation == Isolation::Mediated {
            // What an emptyDir is in such a pod.
            let state = executor.scratch.join("state");
            fs::set_permissions(&state, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("ours");
            if let Some(pod) = &mut executor.pod {
                pod.mount_writable(&state, "/state");
            }
            executor.add(&["--state-dir=/state"]);
        }
        if executor.pod.is_none() {
            let state = executor.scratch.join("state").display().to_string();
            executor.add(&[&format!("--state-dir={state}")]);
        }
        executor
    }

    /// Puts the state directory of a run on the machine itself elsewhere.
    pub(crate) fn replace_state(&mut self, directory: &Path) -> &mut Self {
        self.arguments.retain(|argument| !argument.starts_with("--state-dir="));
        self.add(&[&format!("--state-dir={}", directory.display())])
    }

    /// Adds arguments as they are.
    pub(crate) fn add(&mut self, arguments: &[&str]) -> &mut Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Mounts the sources of a run in a pod writable, at another place if it is not `/workspace`.
    pub(crate) fn volume(&mut self, place: &'static str) -> &mut Self {
        for argument in &mut self.arguments {
            *argument = argument.replace(&format!("={}/", self.volume.0), &format!("={place}/"));
        }
        self.volume = (place, true);
        self
    }

    /// Gives the run more time, or less.
    pub(crate) fn within(&mut self, limit: Duration) -> &mut Self {
        self.limit = limit;
        self
    }

    /// Keeps files as long as the run is in the making.
    pub(crate) fn keep(&mut self, files: Scratch) -> &mut Self {
        self.kept.push(files);
        self
    }

    /// Sets a variable of the executor's environment.
    pub(crate) fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Adds `flag=<a path that is read back as `name`>`.
    pub(crate) fn output(&mut self, flag: &str, name: &str) -> &mut Self {
        let directory = self.inside(OUT, &self.scratch.join("out"));
        self.add(&[&format!("{flag}={directory}/{name}")])
    }

    /// Makes a directory among the results, and returns the path that the executor knows it by.
    pub(crate) fn output_directory(&mut self, name: &str) -> String {
        self.scratch.directory(&format!("out/{name}"));
        format!("{}/{name}", self.inside("/out", &self.scratch.join("out")))
    }

    /// Sets the umask that a run on the machine itself starts with.
    pub(crate) fn umask(&mut self, umask: &str) -> &mut Self {
        umask.clone_into(&mut self.umask);
        self
    }

    /// Sets the file that a run on the machine itself has as its standard input.
    pub(crate) fn stdin(&mut self, file: &Path) -> &mut Self {
        file.clone_into(&mut self.stdin);
        self
    }

    /// Makes the standard output of a run on the machine itself a file that is read back as `name`.
    pub(crate) fn stdout(&mut self, name: &str) -> &mut Self {
        self.stdout = Some(name.to_owned());
        self
    }

    /// Returns where the executor finds the sources.
    pub(crate) fn sources(&self) -> String {
        self.inside(WORKSPACE, &self.source)
    }

    /// Runs the build with a file, at the path that the executor knows it by, as its standard input.
    pub(crate) fn run_with_stdin(&mut self, file: &str) -> Build {
        if self.pod.is_some() {
            return self.run_script(&format!("exec /kaniko/executor \"$@\" <{file}"));
        }
        self.stdin(Path::new(file)).run()
    }

    /// Lets a run on the machine itself tell how much memory it had; see [`Build::peak_memory`].
    pub(crate) fn measured(&mut self) -> &mut Self {
        self.measured = true;
        self
    }

    /// Puts a file beside the credentials, and returns where the executor finds it.
    pub(crate) fn credential(&mut self, name: &str, content: impl AsRef<[u8]>) -> String {
        self.scratch.file(&format!("credentials/{name}"), content);
        let credentials = self.inside(CREDENTIALS, &self.scratch.join("credentials"));
        format!("{credentials}/{name}")
    }

    /// Makes the directory of the credentials the executor's home.
    pub(crate) fn at_home(&mut self) -> &mut Self {
        let home = self.inside(CREDENTIALS, &self.scratch.join("credentials"));
        self.env("HOME", &home)
    }

    /// Shows a directory of the machine to the executor, and returns the path that it knows it by.
    pub(crate) fn shared_directory(&mut self, directory: &Path) -> String {
        if let Some(pod) = &mut self.pod {
            pod.mount_writable(directory, "/shared");
        }
        if self.isolation == Isolation::Mediated {
            // A volume of the pod's group, as `fsGroup` makes it.
            process::run(Command::new("chown").args(["-R", "-h", "65532:65532"]).arg(directory), SHORT).success();
        }
        self.inside("/shared", directory)
    }

    /// Puts a file where a result will be written: what an earlier build left.
    pub(crate) fn stale(&mut self, name: &str, content: &str) -> &mut Self {
        self.scratch.file(&format!("out/{name}"), content);
        self
    }

    /// Asks for an OCI layout in place of a push; the base images' registry needs no TLS.
    pub(crate) fn only_layout(&mut self) -> &mut Self {
        self.add(&["--no-push", &format!("--insecure-registry={}", registry::shared().address)]);
        self.output("--oci-layout-path", "layout")
    }

    /// Pushes to `repository:tag` of a plain registry.
    pub(crate) fn push_plain(&mut self, registry: &Registry, name: &str) -> &mut Self {
        self.add(&[
            &format!("--destination={}/{name}", registry.address),
            &format!("--insecure-registry={}", registry.address),
            &format!("--insecure-registry={}", registry::shared().address),
        ])
    }

    /// Pushes to `repository:tag` of a secured registry with `password`, trusting its CA.
    pub(crate) fn push_secured(&mut self, registry: &Registry, name: &str, password: &str) -> &mut Self {
        self.scratch.file("credentials/config.json", registry.docker_config(password));
        self.scratch.file("credentials/ca.crt", fs::read(registry.ca()).expect("the CA is made"));
        let credentials = self.inside(CREDENTIALS, &self.scratch.join("credentials"));
        self.env("DOCKER_CONFIG", &credentials);
        self.add(&[
            &format!("--destination={}/{name}", registry.address),
            &format!("--registry-certificate={}={credentials}/ca.crt", registry.address),
            &format!("--insecure-registry={}", registry::shared().address),
        ])
    }

    /// Runs the build to its end.
    pub(crate) fn run(&mut self) -> Build {
        let limit = self.limit;
        self.start().wait(limit)
    }

    /// Starts the build.
    pub(crate) fn start(&mut self) -> Ongoing {
        let scratch = std::mem::replace(&mut self.scratch, Scratch::new("spent"));
        let (running, pod) = match &self.pod {
            None => (self.start_here(&scratch), None),
            Some(pod) => {
                let pod = self.furnish(pod.clone(), &scratch);
                let mut program = vec!["/kaniko/executor"];
                program.extend(self.arguments.iter().map(String::as_str));
                (pod.start(&program), Some(pod))
            }
        };
        Ongoing { running, pod, scratch, limit: self.limit }
    }

    /// Runs the build twice in one container, with a shell command between, and returns what each printed.
    pub(crate) fn run_script(&mut self, script: &str) -> Build {
        let scratch = std::mem::replace(&mut self.scratch, Scratch::new("spent"));
        let pod = self.furnish(self.pod.clone().expect("a script needs a pod"), &scratch);
        let mut program = vec!["/busybox/sh", "-c", script, "sh"];
        program.extend(self.arguments.iter().map(String::as_str));
        let running = match &self.image {
            Some(image) => pod.start_image(image, &program),
            None => pod.start(&program),
        };
        Ongoing { running, pod: Some(pod), scratch, limit: self.limit }.wait(self.limit)
    }

    /// Runs the scripts in a container of another image.
    pub(crate) fn image(&mut self, image: &str) -> &mut Self {
        self.image = Some(image.to_owned());
        self
    }

    fn furnish(&self, mut pod: Pod, scratch: &Scratch) -> Pod {
        if self.isolation == Isolation::Mediated && self.source.starts_with(scratch::root()) {
            // As if another step of the pod's user had fetched them. Who gives files away takes their set-id bits and capabilities.
            let script = "find . -perm /6000 -type f -printf '%m %p\n' >\"$1\"
                getfattr --absolute-names -h -P -R -d -e hex -m ^security.capability . >\"$1.xattr\"
                chown -R -h 65532:65532 .
                while read -r mode file; do chmod \"$mode\" \"$file\"; done <\"$1\"
                setfattr -h --restore=\"$1.xattr\"";
            let list = scratch.join("set-id");
            let mut chown = Command::new("sh");
            chown.args(["-ec", script, "sh"]).arg(&list).current_dir(&self.source);
            process::run(&mut chown, SHORT).success();
            let mut chown = Command::new("chown");
            process::run(chown.args(["-R", "-h", "65532:65532"]).arg(scratch.join("out")), SHORT).success();
        }
        let (place, is_writable) = self.volume;
        let mount = if is_writable { Pod::mount_writable } else { Pod::mount };
        mount(&mut pod, &self.source, place);
        pod.mount(&scratch.join("credentials"), CREDENTIALS);
        pod.mount_writable(&scratch.join("out"), OUT);
        // A pod of another user must be able to write its results, as with a volume of the pod's group.
        fs::set_permissions(scratch.join("out"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("ours");
        for (name, value) in &self.environment {
            pod.add(&[&format!("--env={name}={value}")]);
        }
        pod
    }

    fn start_here(&self, scratch: &Scratch) -> Running {
        assert_eq!(self.isolation, Isolation::Namespace, "other isolations must not touch the machine's own root");
        let mut command = Command::new("sh");
        let script = "umask \"$1\"; exec <\"$2\"; [ -z \"$3\" ] || exec >\"$3\"; shift 3; exec \"$@\"";
        let stdout = self.stdout.as_ref().map(|name| scratch.join("out").join(name)).unwrap_or_default();
        command.args(["-c", script, "sh", &self.umask]).arg(&self.stdin).arg(stdout);
        if self.measured {
            command.args(["python3", "-c", MEASURE]);
        }
        command.arg(EXECUTOR);
        command.args(&self.arguments).env_clear().env("HOME", scratch.join("home"));
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin").envs(&self.environment);
        // What a build must never show; see `Build::read`.
        command.env("SECRET_OF_THE_STEP", PASSWORD).current_dir(scratch.path());
        process::start(&mut command)
    }

    fn inside(&self, inside: &str, outside: &Path) -> String {
        if self.pod.is_some() { inside.to_owned() } else { outside.display().to_string() }
    }
}

impl Ongoing {
    /// Waits for the end.
    pub(crate) fn wait(self, limit: Duration) -> Build {
        let Finished { code, stdout, stderr, .. } = self.running.wait(limit);
        let build = Build { code, stdout, stderr, scratch: self.scratch };
        build.shows_no_secret();
        build
    }

    /// Asks the executor to end, as a cluster does when a pod is deleted.
    pub(crate) fn terminate(&self) {
        match &self.pod {
            None => self.running.signal(Signal::TERM),
            Some(pod) => pod.signal("TERM"),
        }
    }

    /// Sends a signal to a run on the machine itself, to its first process alone.
    pub(crate) fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Waits for the end within the run's own limit.
    pub(crate) fn finish(self) -> Build {
        let limit = self.limit;
        self.wait(limit)
    }
}

impl Build {
    /// Returns the resident memory, in bytes, of the largest process of a run that was measured, at its largest.
    pub(crate) fn peak_memory(&self) -> u64 {
        let told = self.stderr.lines().find_map(|line| line.strip_prefix("peak memory in KiB: "));
        told.and_then(|number| number.parse::<u64>().ok()).expect("it was measured") << 10
    }

    /// Panics with the whole log unless the build ended with `code`.
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code; the log:\n{}{}", self.stdout, self.stderr);
        self
    }

    /// Returns the bytes of a result file, `None` when there is none.
    pub(crate) fn result(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.scratch.join("out").join(name)).ok()
    }

    /// Returns the names of all result files.
    pub(crate) fn results(&self) -> Vec<String> {
        let entries = fs::read_dir(self.scratch.join("out")).expect("it is there").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Returns the path of a result.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.join("out").join(name)
    }

    /// Reads the layout asked for with [`Executor::only_layout`].
    pub(crate) fn image(&self) -> Image {
        Image::from_layout(&self.path("layout"))
    }

    /// Returns the files that are left in the state directory of a run on the machine.
    pub(crate) fn state_left(&self) -> Vec<String> {
        let find = process::run(
            Command::new("find").arg(self.scratch.join("state")).args(["-mindepth", "1", "-printf", "%P\\n"]),
            process::SHORT,
        );
        find.success().lines().map(str::to_owned).collect()
    }

    /// Returns the mounts below the run's directories that outlived it.
    pub(crate) fn mounts_left(&self) -> Vec<String> {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc is there");
        let place = self.scratch.path().display().to_string();
        mounts.lines().filter(|line| line.contains(&place)).map(str::to_owned).collect()
    }

    /// Panics when the log or a result file holds the password, as it is or encoded.
    fn shows_no_secret(&self) {
        let mut secrets = [PASSWORD, POD, REFRESH].map(str::to_owned).to_vec();
        secrets.extend([USER, "u", ""].map(|user| registry::base64(&format!("{user}:{PASSWORD}"))));
        let mut places = vec![("stdout".to_owned(), self.stdout.clone()), ("stderr".to_owned(), self.stderr.clone())];
        let mut directories = vec![self.scratch.join("out")];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).expect("it can be read").flatten() {
                let (path, kind) = (entry.path(), entry.file_type().expect("it is there"));
                // What layers hold is the image's own.
                if kind.is_dir() && entry.file_name() != "blobs" {
                    directories.push(path);
                } else if kind.is_file()
                    && let Ok(text) = fs::read_to_string(&path)
                {
                    // Anything else among the files of an image may be a named pipe, which nobody writes to.
                    places.push((path.display().to_string(), text));
                }
            }
        }
        for (place, text) in places {
            for secret in &secrets {
                assert!(!text.contains(secret.as_str()), "{place} shows a password");
            }
        }
    }
}
