//! One case of the corpus: a directory below `tests/dockerfiles`, made ready to be built.
//!
//! | file | meaning |
//! |---|---|
//! | `Dockerfile` | what is built |
//! | `context/` | the build context; modes and times are set by the harness, as Git does not keep them |
//! | `prepare.sh` | run in the context, for what Git cannot hold: links, modes, odd names, archives |
//! | `case.json` | see [`Settings`] |
//! | `listing.txt` | the changes to the base that BuildKit makes, where buildah is not the oracle |
//! | `config.json` | the same for the image's config |

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use super::bases::{self, Base};
use super::image;
use super::process::{self, SHORT};
use super::scratch::Scratch;

/// What a `case.json` may say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// `--build-arg`s beside the bases.
    pub(crate) build_args: BTreeMap<String, String>,
    /// `--target`.
    pub(crate) target: Option<String>,
    /// `--label`s.
    pub(crate) labels: BTreeMap<String, String>,
    /// Flags for the executor alone.
    pub(crate) arguments: Vec<String>,
    /// How the build must fail; otherwise it must succeed.
    pub(crate) error: Option<Failure>,
    /// Paths whose modification time counts, too.
    pub(crate) times: Vec<String>,
    /// Paths whose modification time, in Unix seconds, is not the oracle's.
    pub(crate) modified: BTreeMap<String, i64>,
    /// The names of the tar entries of the topmost layer, where it matters that nothing else is in it.
    pub(crate) top_layer: Option<Vec<String>>,
    /// Paths that may be there or not.
    pub(crate) ignore: Vec<String>,
    /// Texts the log must hold.
    pub(crate) log: Vec<String>,
    /// Why `listing.txt` or `config.json` stands for BuildKit in buildah's place.
    pub(crate) differs: Option<String>,
    /// Isolations this case is for (all, when empty), with the reason in `only_because`.
    pub(crate) only: Vec<String>,
    /// Why `only` is not empty.
    pub(crate) only_because: Option<String>,
    /// What is changed before it is built again, and which steps that must make anew.
    pub(crate) changes: Vec<Change>,
}

/// A change of a case, and what it means for a build that has the cache of the case as it was.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    /// What is changed.
    pub(crate) what: String,
    /// A shell script that changes the context, from within it.
    context: Option<String>,
    /// A sed script that changes the Dockerfile.
    dockerfile: Option<String>,
    /// `--build-arg`s beside the case's, or in their place.
    #[serde(default)]
    build_args: BTreeMap<String, String>,
    /// Bases in place of the case's, by the case's names for its own.
    #[serde(default)]
    bases: BTreeMap<String, String>,
    /// Another `--target`.
    target: Option<String>,
    /// Flags beside the case's.
    #[serde(default)]
    arguments: Vec<String>,
    /// The instructions that must be done again, in order; all others must be found.
    pub(crate) again: Vec<String>,
}

/// A failure as a pipeline sees it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Failure {
    /// The executor's exit code.
    pub(crate) exit: i32,
    /// Texts that stderr must hold.
    pub(crate) texts: Vec<String>,
}

/// A case, ready to be built.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) settings: Settings,
    /// The bases by build argument.
    pub(crate) bases: BTreeMap<&'static str, Base>,
    /// Where it lies in the repository.
    pub(crate) source: PathBuf,
    scratch: Scratch,
}

impl Case {
    /// Copies the case into scratch space and prepares its context.
    pub(crate) fn prepare(name: &str) -> Self {
        let source = directory().join(name);
        let settings = settings(name);
        let text = fs::read_to_string(source.join("Dockerfile")).expect("a case has a Dockerfile");
        let scratch = Scratch::new("case");
        let script = "
            umask 022
            cp -R \"$1/.\" . && mkdir -p context && chmod -R u=rwX,go=rX .
            find . -exec touch -h -d @1600000000 {} +
            if [ -f prepare.sh ]; then cd context && sh -e ../prepare.sh; fi";
        process::run(Command::new("sh").args(["-ec", script, "sh"]).arg(&source).current_dir(scratch.path()), SHORT)
            .success();
        Self { name: name.to_owned(), settings, bases: bases::used_by(&text), source, scratch }
    }

    /// Prepares the case once more, elsewhere and with other times of all files, as a fresh clone has them.
    pub(crate) fn cloned(&self) -> Self {
        let clone = Self::prepare(&self.name);
        clone.shell("find . -exec touch -h -d @1650000000 {} +", "");
        clone
    }

    /// Makes a clone that differs by a change.
    pub(crate) fn changed(&self, change: &Change) -> Self {
        let mut changed = self.cloned();
        if let Some(script) = &change.context {
            changed.shell("cd context && sh -ec \"$1\"", script);
        }
        if let Some(script) = &change.dockerfile {
            let text = || fs::read_to_string(changed.path().join("Dockerfile")).expect("it is there");
            let before = text();
            changed.shell("sed -i -e \"$1\" Dockerfile", script);
            assert_ne!(before, text(), "{}: the Dockerfile is as before", change.what);
        }
        for (name, other) in &change.bases {
            *changed.bases.get_mut(name.as_str()).expect("the case has this base") = bases::named(other);
        }
        let settings = &mut changed.settings;
        settings.build_args.extend(change.build_args.clone());
        settings.arguments.extend(change.arguments.clone());
        settings.target = change.target.clone().or(settings.target.take());
        changed
    }

    fn shell(&self, script: &str, argument: &str) {
        let mut command = Command::new("sh");
        command.args(["-ec", &format!("umask 022; {script}"), "sh", argument]).current_dir(self.path());
        process::run(&mut command, SHORT).success();
    }

    /// Takes a directory that holds `Dockerfile` and `context` for a case that is in no corpus.
    pub(crate) fn generated(name: &str, scratch: Scratch) -> Self {
        process::run(
            Command::new("find").arg(scratch.path()).args(["-exec", "touch", "-h", "-d", "@1600000000", "{}", "+"]),
            SHORT,
        )
        .success();
        let text = fs::read_to_string(scratch.join("Dockerfile")).expect("a case has a Dockerfile");
        let (settings, bases, source) = (Settings::default(), bases::used_by(&text), scratch.path().to_owned());
        Self { name: name.to_owned(), settings, bases, source, scratch }
    }

    /// Returns a file or directory of the case as the oracle shall see it: `<name>.oracle`, where there is one.
    pub(crate) fn for_oracle(&self, name: &str) -> PathBuf {
        let own = self.path().join(format!("{name}.oracle"));
        if own.exists() { own } else { self.path().join(name) }
    }

    /// Returns the directory that holds `Dockerfile` and `context`.
    pub(crate) fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Returns all build arguments: the case's own, and the bases.
    pub(crate) fn build_args(&self) -> Vec<String> {
        let bases = self.bases.iter().map(|(name, base)| format!("{name}={}", base.reference));
        bases.chain(self.settings.build_args.iter().map(|(name, value)| format!("{name}={value}"))).collect()
    }

    /// Returns the golden listing of changes, where the case has one.
    pub(crate) fn listing(&self) -> Option<String> {
        fs::read_to_string(self.source.join("listing.txt")).ok()
    }

    /// Returns a listing without the paths that may be there or not.
    pub(crate) fn without_ignored(&self, changes: &str) -> String {
        let ignored = |line: &&str| self.settings.ignore.iter().any(|path| line.split(' ').next() == Some(path));
        changes.lines().filter(|line| !ignored(line)).map(|line| format!("{line}\n")).collect()
    }

    /// Returns the golden config, where the case has one.
    pub(crate) fn config(&self) -> Option<Value> {
        let path = self.source.join("config.json");
        path.exists().then(|| image::json_file(&path))
    }
}

/// Returns the corpus.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dockerfiles")
}

/// Reads what the `case.json` of a case says; it need not have one.
pub(crate) fn settings(name: &str) -> Settings {
    match fs::read(directory().join(name).join("case.json")) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{name}/case.json: {error}")),
        Err(_) => Settings::default(),
    }
}

/// Returns the names of all cases, sorted.
pub(crate) fn names() -> Vec<String> {
    let entries = fs::read_dir(directory()).expect("the corpus is there").flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
