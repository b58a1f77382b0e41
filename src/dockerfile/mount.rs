//! `RUN --mount` and `--device`: comma-separated fields, kept as written until variables are known.
//!
//! BuildKit expands each field's value and only then judges it, so a mount has two forms: [`Mount`], parsed,
//! and [`MountSpec`], resolved.
//!
//! *Invariant*: whether the build can make such a mount is not decided here.

use serde::Serialize;

/// A `--mount`, split into fields, not expanded yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// The flag's value as written.
    pub text: String,
    /// The fields, in order.
    pub fields: Vec<MountField>,
}

/// One `key[=value]` of a mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MountField {
    /// The key in lower case.
    pub key: String,
    /// The value, if there is a `=`. Expanded as one word, but for `from`, in which a variable is refused.
    pub value: Option<String>,
}

/// A mount with its values known and checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MountSpec {
    /// What is mounted.
    pub kind: MountKind,
    /// `from`: a stage, a named context or an image; never empty. The build context if none.
    pub from: Option<String>,
    /// `source`, if given.
    pub source: Option<String>,
    /// `target`, if given.
    pub target: Option<String>,
    /// Whether it is read-only; by default bind, secret and ssh mounts are.
    pub read_only: bool,
    /// `id`, if given.
    pub id: Option<String>,
    /// `required`: a missing secret or agent fails the build.
    pub required: bool,
    /// `env`: the variable that gets the secret's value; empty for the default name.
    pub env: Option<String>,
    /// `mode`, `uid` and `gid`, of cache, secret and ssh mounts.
    pub owner: MountOwner,
}

/// Mode and owner of what a cache, secret or ssh mount shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MountOwner {
    /// `mode`, octal in the Dockerfile.
    pub mode: Option<u32>,
    /// `uid`.
    pub uid: Option<u32>,
    /// `gid`.
    pub gid: Option<u32>,
}

/// The type of a mount and what only that type has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    Bind,
    /// A directory that outlives the build.
    Cache(Sharing),
    /// Memory.
    Tmpfs {
        /// `size` in bytes, if given.
        size: Option<u64>,
    },
    /// A secret.
    Secret,
    /// An agent's socket.
    Ssh,
}

/// `sharing` of a cache mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// Many writers at once.
    #[default]
    Shared,
    /// A new one for each concurrent writer.
    Private,
    /// One writer at a time.
    Locked,
}

/// A `--device`; nothing in it is expanded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// The CDI name, such as `vendor.com/class=name`.
    pub name: String,
    /// Whether the build fails without it.
    pub required: bool,
}
