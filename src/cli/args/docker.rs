//! `yadokari build [CONTEXT]`: Docker's words, made into ours before they are read.
//!
//! Knows `docker build`'s and buildx's flags: what each is here, and what to do about those that cannot be. What is not
//! Docker's alone is left as it is, so that all flags of ours hold in both forms.
//!
//! *Invariant: a word of Docker's does what it does there, or is refused with what to do; none is dropped.*
//! Source: <https://docs.docker.com/reference/cli/docker/buildx/build/>.

mod attest;
mod cache;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::Command;

use super::words::flag_of;
use crate::cli::exit::{Failure, Kind};

/// The command.
pub(super) const BUILD: &str = "build";

/// What `yadokari build --help` prints.
pub(super) const HELP: &str = "\
Builds an image as `docker build` is asked to.

Usage: yadokari build [FLAGS] [CONTEXT]

  -t, --tag NAME[:TAG]       a name of the image; may be given many times
  -f, --file FILE            the Dockerfile; CONTEXT/Dockerfile without it
      --push                 push the image to its names
  -o, --output FIELDS        type=registry|oci|docker|local|tar[,NAME=VALUE…]; as `yadokari --help` has it
      --load                 is refused: there is no daemon here to load into
      --platform PLATFORMS   --custom-platform
      --no-cache             take nothing from a cache, and keep nothing in it
      --cache-from FIELDS    type=registry,ref=REPOSITORY; type=local,src=DIRECTORY; or an image with an inline cache
      --cache-to FIELDS      type=registry,ref=REPOSITORY,mode=max; type=local,dest=DIRECTORY,mode=max; type=inline
      --pull                 is always so: each build asks registries what tags are now
      --attest FIELDS        type=sbom; type=provenance,mode=min|max; --sbom=true and --provenance=true are short for it.
                             Without it, provenance goes to registries that take it; --provenance=false has none
  -q, --quiet                print nothing but the image's id (the digest of its configuration), and errors
      --iidfile FILE         write the image's id to a file
      --progress HOW         auto, tty, plain, rawjson, quiet

CONTEXT is a directory, `-` for an archive on standard input, or a URL; /workspace/ without it. All flags of
`yadokari --help` may be given, too: --build-arg, --target, --secret, --ssh, --label, --metadata-file …
";

const LIMITS: &str = "the limits of RUN are the container's: `resources.limits` of the pod";

/// Docker's flags, for manual pages and completion: the letter, the name, the value, what it does.
const FLAGS: [(Option<char>, &str, Option<&str>, &str); 17] = [
    (Some('t'), "tag", Some("NAME[:TAG]"), "A name of the image; may be given many times"),
    (Some('f'), "file", Some("FILE"), "The Dockerfile; CONTEXT/Dockerfile without it"),
    (None, "push", None, "Push the image to its names"),
    (Some('o'), "output", Some("FIELDS"), "Where the image goes: type=registry|oci|docker|local|tar[,NAME=VALUE…]"),
    (None, "load", None, "Is refused: there is no daemon to load into"),
    (None, "platform", Some("PLATFORMS"), "The platforms to build for, as --custom-platform"),
    (None, "no-cache", None, "Take nothing from a cache, and keep nothing in it"),
    (None, "cache-from", Some("FIELDS"), "Where steps are looked for: type=registry,ref=… or type=local,src=…"),
    (
        None,
        "cache-to",
        Some("FIELDS"),
        "Where steps are kept: type=registry,ref=…,mode=max, type=local,dest=… or type=inline",
    ),
    (None, "pull", None, "Is always so: each build asks registries what tags are now"),
    (
        None,
        "attest",
        Some("FIELDS"),
        "Say what is in the image, and how it came to be: type=sbom, type=provenance,mode=…",
    ),
    (Some('q'), "quiet", None, "Print nothing but the image's id, and errors"),
    (None, "iidfile", Some("FILE"), "Write the image's id to a file"),
    (None, "progress", Some("HOW"), "auto, tty, plain, rawjson or quiet"),
    (None, "build-arg", Some("NAME=VALUE"), "Set an ARG"),
    (None, "metadata-file", Some("FILE"), "Write everything known about the build to a file"),
    (None, "label", Some("NAME=VALUE"), "Add a label"),
];

/// Returns the command as clap has commands, with flags of ours that hold in it, too: for pages and scripts.
pub(super) fn described(command: &Command) -> Command {
    let flag = |(letter, name, value, help): (Option<char>, &'static str, Option<&'static str>, &'static str)| {
        let flag = clap::Arg::new(format!("docker-{name}")).long(name).short(letter).help(help);
        match value {
            Some(value) => flag.value_name(value),
            None => flag.action(clap::ArgAction::SetTrue),
        }
    };
    let is_taken = |arg: &&clap::Arg| {
        let has_name = |name: &str| FLAGS.iter().any(|(_, known, ..)| *known == name);
        let names = arg.get_long().into_iter().chain(arg.get_all_aliases().unwrap_or_default());
        names.into_iter().any(has_name) || arg.is_positional()
    };
    let letters =
        |arg: &clap::Arg| arg.get_short().filter(|short| FLAGS.iter().any(|(letter, ..)| *letter == Some(*short)));
    let ours = command.get_arguments().filter(|arg| !is_taken(arg)).map(|arg| match letters(arg) {
        Some(_) => arg.clone().short(None),
        None => arg.clone(),
    });
    let context = clap::Arg::new("docker-context").value_name("CONTEXT").help("A directory, `-`, or a URL");
    Command::new(BUILD)
        .about("Builds an image as `docker build` is asked to")
        .args(FLAGS.map(flag))
        .args(ours)
        .arg(context)
}

/// Flags of Docker's and its kin's that are not ours, and what to write instead.
const INSTEAD: &[(&str, &str)] = &[
    ("tag", "write --destination REGISTRY/REPOSITORY:TAG, or use Docker's words with `yadokari build`"),
    ("t", "write --destination REGISTRY/REPOSITORY:TAG, or use Docker's words with `yadokari build`"),
    ("file", "write --dockerfile"),
    ("platform", "write --custom-platform"),
    ("push", "leave it out: what has a --destination is pushed"),
    ("load", "there is no daemon to load into: write an archive with -o type=docker,dest=image.tar for `docker load`"),
    ("pull", "leave it out: each build asks registries what tags are now"),
    ("no-cache", "write --cache=false"),
    ("cache-to", "write --cache-repo REPOSITORY, or use Docker's words with `yadokari build`"),
    ("quiet", "write --progress=quiet"),
    ("q", "write --progress=quiet"),
    ("squash", "write --single-snapshot"),
    ("rm", "leave it out: no container outlives its step"),
    ("force-rm", "leave it out: no container outlives its step"),
    ("compress", "leave it out: no context is sent anywhere"),
    ("memory", "the limits of RUN are the container's: `resources.limits.memory` of the pod"),
    ("m", "the limits of RUN are the container's: `resources.limits.memory` of the pod"),
    ("cpus", "the limits of RUN are the container's: `resources.limits.cpu` of the pod"),
    ("cpu-shares", "the limits of RUN are the container's: `resources.limits.cpu` of the pod"),
    ("cgroup-parent", LIMITS),
    ("security-opt", "what RUN may is said by --isolation, and by the pod's securityContext"),
    ("cpu-period", LIMITS),
    ("cpu-quota", LIMITS),
    ("cpuset-cpus", LIMITS),
    ("cpuset-mems", LIMITS),
    ("memory-swap", LIMITS),
    ("device", "RUN has the devices of the executor's own container: give it to the pod"),
    ("cap-add", "RUN never has more rights than the executor's own container: see `yadokari doctor`"),
    ("builder", "leave it out: the executor is the builder"),
    ("debug", "write --verbosity=debug"),
    ("D", "write --verbosity=debug"),
    ("disable-content-trust", "leave it out; --verify-base FILE says which base images are used"),
    ("policy", "--verify-base FILE says which base images may be used"),
    ("attest", "write --sbom=spdx and --provenance=min, or use Docker's words with `yadokari build`"),
    ("invoke", "write --on-failure=keep to look at what a RUN has left"),
    ("print", "write `yadokari plan`"),
    ("stream", "leave it out: no context is sent anywhere"),
    ("timestamp", "set the variable SOURCE_DATE_EPOCH"),
    ("source-date-epoch", "set the variable SOURCE_DATE_EPOCH"),
    ("manifest", "write --custom-platform with several platforms, or join images with `yadokari index`"),
    ("call", "write `yadokari check` to look for what should be changed, or `yadokari plan`"),
    ("check", "write `yadokari check`"),
    ("no-cache-filter", "change an --build-arg that the stage uses, or write --cache=false"),
    ("authfile", "set the variable REGISTRY_AUTH_FILE"),
    ("creds", "use `yadokari login`, or a config.json"),
    ("tls-verify", "write --skip-tls-verify"),
    ("layers", "write --cache=true"),
    ("format", "write --image-format"),
    ("storage-driver", "leave it out: nothing is stored but in --state-dir"),
    ("volume", "mount it into the pod, or use RUN --mount=type=bind and --build-context"),
    ("cache-image", "write --cache-repo REPOSITORY"),
    ("tags", "write one --destination for each"),
    ("publish", "write --destination"),
];

/// Returns what to write instead of a flag that is somebody else's; the name has no dashes.
pub(super) fn instead(name: &str) -> Option<&'static str> {
    INSTEAD.iter().find(|(known, _)| *known == name).map(|(_, instead)| *instead)
}

/// What Docker's words come to.
pub(super) enum Translated {
    /// These words of ours.
    Words(Vec<OsString>),
    /// The help of the command.
    Help,
}

/// Makes words of ours of Docker's, where the command is [`BUILD`].
///
/// # Errors
/// A [`Failure`] of kind usage for what cannot be had here, with what to do.
pub(super) fn translated(words: Vec<OsString>) -> Result<Translated, Failure> {
    let is = |position: usize, wanted: &str| words.get(position).is_some_and(|word| word == wanted);
    if is(1, "help") && is(2, BUILD) {
        return Ok(Translated::Help);
    }
    if !is(1, BUILD) {
        return Ok(Translated::Words(words));
    }
    let command = super::command();
    let mut build = Build::default();
    let mut rest = words.iter().skip(2);
    while let Some(word) = rest.next() {
        if word == "--help" || word == "-h" {
            return Ok(Translated::Help);
        }
        build.word(&command, word, &mut rest)?;
    }
    let program = words.into_iter().next();
    Ok(Translated::Words(program.into_iter().chain(build.finish()?).collect()))
}

/// What was read so far.
#[derive(Debug, Default)]
struct Build {
    /// Ours.
    words: Vec<OsString>,
    tags: Vec<OsString>,
    context: Option<OsString>,
    has_file: bool,
    is_pushed: bool,
    is_not_pushed: bool,
    /// The values of `--output`.
    outputs: Vec<String>,
    /// The repository of the cache, and whether it is written.
    cache: Option<(String, bool)>,
    has_no_cache: bool,
    has_provenance: bool,
    is_quiet: bool,
}

impl Build {
    /// Takes a word, and from `rest` its value.
    fn word<'w>(
        &mut self,
        command: &Command,
        word: &'w OsStr,
        rest: &mut impl Iterator<Item = &'w OsString>,
    ) -> Result<(), Failure> {
        let text = word.to_str().unwrap_or_default();
        let Some(flag) = text.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
            return self.context(word);
        };
        let (name, joined) = match flag.strip_prefix('-') {
            Some(long) => long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value.to_owned()))),
            // `-tNAME` and `-t=NAME` are `-t NAME`.
            None => {
                let (letter, value) = flag.split_at(flag.chars().next().map_or(0, char::len_utf8));
                let value = value.strip_prefix('=').unwrap_or(value);
                (letter, (!value.is_empty()).then(|| value.to_owned()))
            }
        };
        let mut value = |what: &str| {
            let next = || rest.next().and_then(|word| word.to_str()).map(str::to_owned);
            joined.clone().or_else(next).ok_or_else(|| usage(format!("{what} needs a value")))
        };
        match name {
            "t" | "tag" => self.tags.push(value("--tag")?.into()),
            "f" | "file" => {
                self.has_file = true;
                self.words.push(format!("--dockerfile={}", value("--file")?).into());
            }
            "platform" => self.words.push(format!("--custom-platform={}", value("--platform")?).into()),
            "o" | "output" => self.outputs.push(value("--output")?),
            "cache-from" => self.cache_from(&value("--cache-from")?)?,
            "cache-to" => self.cache_to(&value("--cache-to")?)?,
            "attest" => self.attest(&value("--attest")?)?,
            "sbom" => self.sbom("--sbom", &value("--sbom")?)?,
            "provenance" => self.provenance("--provenance", &value("--provenance")?)?,
            "push" => self.is_pushed = truth("--push", joined.as_deref())?,
            "load" if truth("--load", joined.as_deref())? => return Err(refused("load")),
            // What both say is so in any case.
            "pull" if truth("--pull", joined.as_deref())? => {}
            "pull" => {
                return Err(usage("--pull=false is not possible")
                    .hint("each build asks registries what tags are now; name bases by digest, or see --cache-dir"));
            }
            "load" => {}
            "no-cache" => self.has_no_cache = truth("--no-cache", joined.as_deref())?,
            "q" | "quiet" => self.is_quiet = truth("--quiet", joined.as_deref())?,
            _ => return self.ours(command, word, name, joined.is_some(), rest),
        }
        Ok(())
    }

    /// Takes a flag of ours with its value as it is.
    fn ours<'w>(
        &mut self,
        command: &Command,
        word: &OsStr,
        name: &str,
        is_joined: bool,
        rest: &mut impl Iterator<Item = &'w OsString>,
    ) -> Result<(), Failure> {
        let bare = if name.chars().count() == 1 { format!("-{name}") } else { format!("--{name}") };
        let Some(flag) = flag_of(command, OsStr::new(&bare)) else {
            return Err(match instead(name) {
                Some(_) => refused(name),
                None => usage(format!("there is no flag {bare}")).hint("run `yadokari build --help` for all flags"),
            });
        };
        self.is_not_pushed |= name == "no-push" && !word.to_str().is_some_and(|word| word.ends_with("=false"));
        self.words.push(word.to_owned());
        if flag.get_action().takes_values() && !flag.is_require_equals_set() && !is_joined {
            self.words.extend(rest.next().cloned());
        }
        Ok(())
    }

    fn context(&mut self, word: &OsStr) -> Result<(), Failure> {
        if let Some(first) = &self.context {
            let first = first.to_string_lossy();
            return Err(usage(format!("`{first}` and `{}` cannot both be the context", word.to_string_lossy()))
                .hint("put a value with spaces into quotes"));
        }
        self.context = Some(word.to_owned());
        Ok(())
    }

    /// Returns the words of ours.
    fn finish(mut self) -> Result<Vec<OsString>, Failure> {
        if let Some(context) = &self.context {
            let directory = Path::new(context);
            if !self.has_file && context != "-" && directory.is_dir() {
                self.words.push(prefixed("--dockerfile=", directory.join("Dockerfile").as_os_str()));
            }
            self.words.push(prefixed("--context=", context));
        }
        let is_pushed_there = self.outputs.iter().any(|output| is_push(output));
        let is_pushed = self.is_pushed || is_pushed_there;
        if !is_pushed && !self.is_not_pushed && self.outputs.is_empty() {
            return Err(usage(
                "nothing says where the image goes: docker would keep it in its daemon, and there is none",
            )
            .hint("--push sends it to its names; -o type=docker,dest=image.tar writes an archive for `docker load`")
            .hint("--no-push builds, and keeps nothing"));
        }
        if !is_pushed && !self.is_not_pushed {
            self.words.push("--no-push".into());
        }
        // Without a name of its own, what goes to a registry goes where the tags say.
        let has_tags = !self.tags.is_empty();
        let named = |output: &String| !(has_tags && is_push(output) && !output.contains("name="));
        self.words.extend(self.outputs.iter().filter(|output| named(output)).map(|o| format!("--output={o}").into()));
        self.words.extend(self.tags.iter().map(|tag| prefixed("--destination=", tag)));
        match (self.cache, self.has_no_cache) {
            (Some((place, _)), true) => {
                return Err(usage(format!("--no-cache and a cache at {place} do not go together")));
            }
            (Some((place, is_written)), false) => {
                let mode = if is_written { "rw" } else { "ro" };
                self.words.push(format!("--cache-repo={place}").into());
                self.words.extend(["--cache=true".into(), format!("--cache-mode={mode}").into()]);
            }
            (None, true) => self.words.push("--cache=false".into()),
            (None, false) => {}
        }
        if !self.has_provenance {
            self.words.push("--provenance=auto".into());
        }
        if self.is_quiet {
            self.words.extend(["--progress=quiet".into(), "--print-image-id".into()]);
        }
        Ok(self.words)
    }
}

/// Tells whether an output goes to a registry.
fn is_push(output: &str) -> bool {
    let has = |wanted: &str| output.split(',').any(|field| field.trim_matches('"') == wanted);
    has("type=registry") || (has("type=image") && has("push=true"))
}

fn truth(flag: &str, value: Option<&str>) -> Result<bool, Failure> {
    let read = |text| super::boolean(text).map_err(|error| usage(format!("{flag} cannot be `{text}`: {error}")));
    value.map_or(Ok(true), read)
}

fn prefixed(flag: &str, value: &OsStr) -> OsString {
    let mut word = OsString::from(flag);
    word.push(value);
    word
}

fn refused(name: &str) -> Failure {
    let dashes = if name.len() == 1 { "-" } else { "--" };
    let failure = usage(format!("{dashes}{name} is not possible here"));
    instead(name).into_iter().fold(failure, Failure::hint)
}

fn usage(message: impl Into<String>) -> Failure {
    Failure::new(Kind::Usage, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(words: &[&str]) -> Result<String, String> {
        let words = ["yadokari", BUILD].iter().chain(words).map(OsString::from).collect();
        match translated(words).map_err(|failure| format!("{}; {}", failure.message, failure.hints.join("; ")))? {
            Translated::Help => Ok("help".to_owned()),
            Translated::Words(words) => {
                let words: Vec<_> = words.iter().skip(1).map(|word| word.to_string_lossy()).collect();
                // All of it is read: no word of Docker's is left.
                let all = ["yadokari".into()].into_iter().chain(words.iter().map(|word| OsString::from(&**word)));
                super::super::parse(all).map_err(|failure| failure.message)?;
                Ok(words.join(" "))
            }
        }
    }

    #[test]
    fn dockers_words_become_ours() {
        for (words, expected) in [
            (
                "--push -t r.io/a:1 --tag=r.io/a:2 -",
                "--context=- --destination=r.io/a:1 --destination=r.io/a:2 --provenance=auto",
            ),
            (
                "-f x/D --push -tr.io/a https://h/x.git",
                "--dockerfile=x/D --context=https://h/x.git --destination=r.io/a --provenance=auto",
            ),
            (
                "--platform linux/arm64 --no-cache -o type=oci,dest=x.tar -t a --pull",
                "--custom-platform=linux/arm64 --no-push --output=type=oci,dest=x.tar --destination=a --cache=false --provenance=auto",
            ),
            (
                "--push -t r.io/a --cache-from type=registry,ref=r.io/c:x --cache-to type=registry,ref=r.io/c,mode=max",
                "--destination=r.io/a --cache-repo=r.io/c --cache=true --cache-mode=rw --provenance=auto",
            ),
            (
                "--push -t r.io/a --cache-from=type=local,src=/c",
                "--destination=r.io/a --cache-repo=oci:/c --cache=true --cache-mode=ro --provenance=auto",
            ),
            (
                "--push -t r.io/a --cache-from r.io/a --cache-to type=inline",
                "--cache-from=r.io/a --cache-inline --destination=r.io/a --provenance=auto",
            ),
            ("-o type=registry -t r.io/a", "--destination=r.io/a --provenance=auto"),
            ("--push -q -t r.io/a", "--destination=r.io/a --provenance=auto --progress=quiet --print-image-id"),
            (
                "--no-push --build-arg A=1 --label b=c --iidfile id",
                "--no-push --build-arg A=1 --label b=c --iidfile id --provenance=auto",
            ),
            ("--no-push --sbom=true --provenance false .x", "--no-push --sbom=spdx --provenance=false --context=.x"),
            (
                "--no-push --attest type=sbom --attest type=provenance,mode=max,version=v1,builder-id=https://b",
                "--no-push --sbom=spdx --builder-id=https://b --provenance=max",
            ),
            (
                "--no-push --attest=type=provenance,disabled=true --sbom=cyclonedx",
                "--no-push --provenance=off --sbom=cyclonedx",
            ),
            (
                "--push -t a --cache-to type=registry,ref=r.io:5000/c,mode=max,registry.insecure=true,oci-mediatypes=true",
                "--insecure-registry=r.io:5000 --destination=a --cache-repo=r.io:5000/c --cache=true --cache-mode=rw --provenance=auto",
            ),
            (
                "--no-push --add-host h:10.0.0.1 --shm-size 1g --ulimit nofile=9 --network none --target x --ssh a=b",
                "--no-push --add-host h:10.0.0.1 --shm-size 1g --ulimit nofile=9 --network none --target x --ssh a=b --provenance=auto",
            ),
            (
                "--no-push --secret id=a,env=B --build-context c=d --annotation e=f --allow network.host --label g=h",
                "--no-push --secret id=a,env=B --build-context c=d --annotation e=f --allow network.host --label g=h --provenance=auto",
            ),
            (
                "--no-push --platform linux/amd64,linux/arm64 -f - --metadata-file m --progress=plain",
                "--no-push --custom-platform=linux/amd64,linux/arm64 --dockerfile=- --metadata-file m --progress=plain --provenance=auto",
            ),
            ("--help", "help"),
        ] {
            assert_eq!(ours(&words.split(' ').collect::<Vec<_>>()).as_deref(), Ok(expected), "{words}");
        }
    }

    #[test]
    fn a_context_on_this_machine_has_the_dockerfile() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().display().to_string();
        let words = ours(&["--no-push", &path]).expect("good");
        assert_eq!(words, format!("--no-push --dockerfile={path}/Dockerfile --context={path} --provenance=auto"));
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_to_do() {
        for (words, part) in [
            ("--load -t a .", "-o type=docker,dest=image.tar"),
            ("-t a .", "--push sends it"),
            ("--push -t a . b", "cannot both be the context"),
            ("--push --rm -t a .", "leave it out"),
            ("--push --memory 1g -t a .", "resources.limits.memory"),
            ("--push --nonsense -t a .", "there is no flag --nonsense"),
            (
                "--push --cache-to type=gha,scope=x,mode=max -t a .",
                "of the type `gha` is not possible; GitHub's cache service",
            ),
            ("--push --cache-from type=s3,region=x -t a .", "of the type `s3` is not possible; use type=registry"),
            ("--push --cache-to type=registry,ref=r.io/c,compression=zstd -t a .", "write --compression"),
            ("--push --cache-to type=registry,ref=r.io/c,image-manifest=false -t a .", "it is always true"),
            ("--push --no-cache-filter x -t a .", "change an --build-arg"),
            ("--push --builder b -t a .", "the executor is the builder"),
            ("--push --call check -t a .", "yadokari check"),
            ("--push --check -t a .", "yadokari check"),
            ("--push --print -t a .", "yadokari plan"),
            ("--push --cgroup-parent x -t a .", "resources.limits"),
            ("--push --squash -t a .", "--single-snapshot"),
            ("--push --compress -t a .", "leave it out"),
            ("--push --isolation=hyperv -t a .", "--isolation"),
            ("--push --attest type=x -t a .", "type=provenance,mode=max"),
            ("--push --provenance=mode=max,version=v0.2 -t a .", "write version=v1"),
            ("--push --sbom=generator=x -t a .", "no other program looks into the image"),
            ("--pull=false -t a .", "name bases by digest"),
            ("--push --cache-to type=registry,ref=r.io/c -t a .", "mode=max"),
            ("--push --cache-to r.io/c --cache-from type=registry,ref=r.io/d -t a .", "cannot be at"),
            ("--push --no-cache --cache-to r.io/c -t a .", "do not go together"),
            ("--push -t", "--tag needs a value"),
            ("--push=perhaps -t a", "--push cannot be `perhaps`"),
        ] {
            let error = ours(&words.split(' ').collect::<Vec<_>>()).expect_err(words);
            assert!(error.contains(part), "{words}: {error}");
        }
    }

    #[test]
    fn no_flag_of_ours_is_somebody_elses() {
        for (name, _) in INSTEAD {
            let flag = if name.len() == 1 { format!("-{name}") } else { format!("--{name}") };
            assert!(flag_of(&super::super::command(), OsStr::new(&flag)).is_none(), "{flag} is ours now");
        }
    }
}
