//! What every way to a context needs, and what it leaves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::access::Access;
use super::error::Error;
use crate::http::{Agent, Url};
use crate::progress::Reporter;
use crate::rootfs::{FileKind, Tree};

/// What is needed to fetch a context.
#[derive(Clone)]
pub struct Means<'a> {
    /// Makes requests.
    pub agent: &'a Agent,
    /// Drives the network's tasks; the caller must not be one of them.
    pub runtime: &'a Handle,
    /// The directory for everything temporary.
    pub state: PathBuf,
    /// Credentials.
    pub access: &'a Access,
    /// Tells what happens.
    pub reporter: &'a dyn Reporter,
    /// Tells whether the build was interrupted.
    pub is_cancelled: Arc<dyn Fn() -> bool + Send + Sync>,
    /// The server that [`Access::https`] is for; see [`main_origin`](super::main_origin).
    pub origin: Option<Url>,
}

/// How often a wait for the network looks whether the build was cancelled.
const CANCEL_INTERVAL: Duration = Duration::from_millis(50);

impl Means<'_> {
    /// Waits for something of the network, but not longer than until the build is cancelled.
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, Error> {
        let cancelled = async {
            while !(self.is_cancelled)() {
                tokio::time::sleep(CANCEL_INTERVAL).await;
            }
        };
        self.runtime.block_on(async {
            tokio::select! {
                result = future => Ok(result),
                () = cancelled => Err(Error::Interrupted),
            }
        })
    }

    /// Tells whether a login for `https` is meant for the server of a URL.
    pub(super) fn is_main_origin(&self, url: &Url) -> bool {
        self.origin.as_ref().is_some_and(|main| main.origin() == url.origin())
    }
}

/// Where a context came from.
#[derive(Default)]
pub(super) struct Fetched {
    pub(super) url: Option<String>,
    pub(super) commit: Option<String>,
    /// In seconds since 1970, where somebody says.
    pub(super) changed: Option<i64>,
}

/// Opens a directory of what was brought; `what` names who asked for it.
pub(super) fn below(tree: &Tree, sub_path: &Path, what: &'static str) -> Result<Tree, Error> {
    match tree.stat_following(sub_path)? {
        Some(stat) if stat.kind == FileKind::Directory => Ok(tree.below(sub_path)?),
        Some(_) | None => Err(Error::NoSubPath { what, path: sub_path.to_owned() }),
    }
}
