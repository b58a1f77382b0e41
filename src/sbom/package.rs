//! A package, as its manager records it.

use serde::{Deserialize, Serialize};

/// Who manages a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// dpkg.
    Deb,
    /// Alpine's apk.
    Apk,
    /// rpm.
    Rpm,
    /// pip and its like.
    Python,
    /// npm, pnpm, yarn.
    Npm,
    /// The Go modules in a program.
    Go,
    /// The crates in a program.
    Cargo,
    /// Java archives.
    Maven,
    /// RubyGems.
    Gem,
    /// PHP's composer.
    Composer,
    /// .NET.
    Nuget,
}

/// A package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Who manages it.
    pub kind: Kind,
    /// Its name, with its scope or group: `@scope/name`, `group:artifact`, `vendor/name`, a module's path.
    pub name: String,
    /// Its version, as the manager writes it; empty where none is recorded.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// What it is for, in the manager's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// The source package it was built from, where it has another name or version: `name`, `name@version`, a file's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Its licences as they are written there, all of which apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub licences: Vec<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supplier: Option<String>,
    /// Whether only a lock file names it, and nothing installed was seen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_locked_only: bool,
}

impl Package {
    /// Returns a package of which no more is known.
    pub fn new(kind: Kind, name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
            version: version.into(),
            architecture: None,
            source: None,
            licences: Vec::new(),
            supplier: None,
            is_locked_only: false,
        }
    }

    /// Tells whether it is the same package, whatever else is said of it.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.kind, &self.name, &self.version, &self.architecture)
            == (other.kind, &other.name, &other.version, &other.architecture)
    }
}

/// Which distribution an image is, by os-release(5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// `ID`, e.g. `debian`.
    pub id: String,
    /// `VERSION_ID`, e.g. `12`; empty where there is none.
    #[serde(default)]
    pub version: String,
    /// `PRETTY_NAME`.
    #[serde(default)]
    pub name: String,
}
