//! The rules: BuildKit's build checks under their own names, and ours.
//!
//! Source: <https://docs.docker.com/reference/build-checks/>.
//!
//! *Invariant: a name never changes, since `# check=skip=` holds it.*

use serde::{Serialize, Serializer};

/// Who has a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// BuildKit: its `error=true` counts it.
    Buildkit,
    /// We alone: it never makes a build fail that BuildKit would do.
    Yadokari,
}

/// What a finding is about, which decides whether it counts for stages that are not built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The file as it is written.
    File,
    /// An instruction that is carried out.
    Step,
}

macro_rules! rules {
    ($($name:ident, $origin:ident, $reach:ident, $page:literal, $description:literal;)*) => {
        /// A rule that a Dockerfile can break.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule {
            $(#[doc = concat!($description, ".")] $name,)*
        }

        impl Rule {
            /// All rules, BuildKit's first.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns the name, as `# check=skip=` has it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Returns what the rule wants, in one sentence without a full stop.
            pub fn description(self) -> &'static str {
                match self { $(Self::$name => $description,)* }
            }

            /// Returns who has the rule.
            pub fn origin(self) -> Origin {
                match self { $(Self::$name => Origin::$origin,)* }
            }

            /// Returns what a finding is about.
            pub fn reach(self) -> Reach {
                match self { $(Self::$name => Reach::$reach,)* }
            }

            fn page(self) -> &'static str {
                match self { $(Self::$name => $page,)* }
            }
        }
    };
}

rules! {
    ConsistentInstructionCasing, Buildkit, File, "consistent-instruction-casing",
        "All instructions of a Dockerfile are written in the same case";
    CopyIgnoredFile, Buildkit, Step, "copy-ignored-file",
        "What is copied is not left out of the context by the ignore file";
    DuplicateStageName, Buildkit, File, "duplicate-stage-name",
        "No two stages have one name";
    ExposeInvalidFormat, Buildkit, Step, "expose-invalid-format",
        "EXPOSE names ports of the container, with no address and no port of the host";
    ExposeProtoCasing, Buildkit, Step, "expose-proto-casing",
        "The protocol of EXPOSE is written in lower case";
    FromAsCasing, Buildkit, File, "from-as-casing",
        "FROM and AS are written in the same case";
    FromPlatformFlagConstDisallowed, Buildkit, File, "from-platform-flag-const-disallowed",
        "The platform of FROM is a variable, or the stage's name tells it";
    InvalidBaseImagePlatform, Buildkit, Step, "",
        "A base image has the platform that is built for";
    InvalidDefaultArgInFrom, Buildkit, File, "invalid-default-arg-in-from",
        "The defaults of the arguments in a FROM make a valid image name";
    InvalidDefinitionDescription, Buildkit, File, "invalid-definition-description",
        "A comment right above a named stage or an ARG begins with its name; any other is set off by an empty comment";
    JSONArgsRecommended, Buildkit, Step, "json-args-recommended",
        "CMD and ENTRYPOINT are JSON lists, so that signals reach the program and not a shell";
    LegacyKeyValueFormat, Buildkit, Step, "legacy-key-value-format",
        "ENV and LABEL have an equals sign between name and value";
    MaintainerDeprecated, Buildkit, File, "maintainer-deprecated",
        "A label names the author, instead of MAINTAINER";
    MultipleInstructionsDisallowed, Buildkit, Step, "multiple-instructions-disallowed",
        "A stage has no two instructions of which only the last one counts";
    NoEmptyContinuation, Buildkit, File, "no-empty-continuation",
        "No line that continues another one is empty";
    RedundantTargetPlatform, Buildkit, File, "redundant-target-platform",
        "FROM does not ask for the platform that it gets anyway";
    ReservedStageName, Buildkit, File, "reserved-stage-name",
        "No stage is named scratch or context";
    SecretsUsedInArgOrEnv, Buildkit, Step, "secrets-used-in-arg-or-env",
        "Secrets are mounted, not given by ARG or ENV, which stay in the image";
    StageNameCasing, Buildkit, File, "stage-name-casing",
        "Names of stages are written in lower case";
    UndefinedArgInFrom, Buildkit, File, "undefined-arg-in-from",
        "The variables of a FROM are declared by an ARG before the first FROM";
    UndefinedVar, Buildkit, Step, "undefined-var",
        "Variables are defined before they are used";
    WorkdirRelativePath, Buildkit, Step, "workdir-relative-path",
        "The first WORKDIR of a stage is absolute, since a base image may change its own";
    CopyMissingFile, Yadokari, Step, "",
        "What is copied is in the context";
    InvalidJsonForm, Yadokari, File, "",
        "What looks like a JSON list is one, and not a text for the shell";
    InvalidUtf8, Yadokari, File, "",
        "The Dockerfile is UTF-8 throughout";
    UnknownFrontend, Yadokari, File, "",
        "The frontend of `# syntax=` is docker/dockerfile, whose language is read here; no frontend is run";
    UnusedBuildArg, Yadokari, File, "",
        "Every --build-arg is declared by an ARG somewhere";
}

impl Rule {
    /// Tells whether the rule holds only where it is asked for: `experimental=`.
    pub fn is_experimental(self) -> bool {
        self == Self::InvalidDefinitionDescription
    }

    /// Returns the page that explains the rule, where there is one.
    pub fn url(self) -> Option<String> {
        let page = self.page();
        (!page.is_empty()).then(|| format!("https://docs.docker.com/go/dockerfile/rule/{page}/"))
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
