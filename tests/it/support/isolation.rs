//! The executor's isolations, and which of them this machine lets us try.

use std::process::Command;
use std::sync::OnceLock;

use super::pod::Pod;
use super::process::{self, SHORT};
use super::skips;

/// Where the executor puts the root file system of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// A private root in namespaces of its own, here on the machine itself.
    Namespace,
    /// The container's own `/`; only ever in a container of podman's.
    Container,
    /// A private root without any mount; only ever in a container of podman's.
    Chroot,
    /// A private root behind a supervisor, in a container that is as strict as the `restricted` standard.
    Mediated,
    /// What the executor finds best; only in a container of podman's.
    Auto,
}

impl Isolation {
    /// All that can be named.
    pub(crate) const ALL: [Self; 4] = [Self::Namespace, Self::Container, Self::Chroot, Self::Mediated];

    /// Returns the value of `--isolation`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Container => "container",
            Self::Chroot => "chroot",
            Self::Mediated => "mediated",
            Self::Auto => "auto",
        }
    }

    /// Returns whether `what` can be tried here; when not, notes it as skipped with the missing right.
    pub(crate) fn allowed(self, what: &str) -> bool {
        static NAMESPACE: OnceLock<Option<String>> = OnceLock::new();
        let missing = match self {
            Self::Namespace => NAMESPACE.get_or_init(namespaces_missing).clone(),
            Self::Container | Self::Chroot | Self::Mediated | Self::Auto => Pod::missing(),
        };
        if let Some(missing) = &missing {
            skips::skip(&format!("{what} in {}", self.name()), missing);
        }
        missing.is_none()
    }
}

fn namespaces_missing() -> Option<String> {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--pid", "--fork", "true"]);
    let finished = process::run(&mut command, SHORT);
    (finished.code != 0).then(|| format!("user namespaces: {}", finished.stderr.trim()))
}
