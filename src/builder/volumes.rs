//! What the executor's own container has mounted over paths of the image, where RUN shares its root.
//!
//! Knows which isolation is in use, and takes another one where files of the image would be hidden from RUN: before
//! anything is built where the plan tells, else by beginning again. *Invariant: no RUN is started that sees something
//! else in the place of the image's files.*

use std::path::{Path, PathBuf};

use crate::image::{Credentials, EntryKind, LayerInventory};
use crate::isolation;
use crate::plan::{BuildPlan, Reach, RunStep};
use crate::rootfs::{Exclusions, Tree};

use super::{Error, Services};

/// The paths at and below which RUN does not see the image's files.
struct Hiding(Vec<(PathBuf, Exclusions)>);

impl Hiding {
    fn of(services: &Services) -> Self {
        let hiding = services.isolation.hiding().into_iter();
        Self(hiding.map(|path| (path.clone(), Exclusions::new([&path]))).collect())
    }

    /// Returns what hides something of a place.
    fn find(&self, place: &Path, reach: Reach) -> Option<&Path> {
        let place = place.strip_prefix("/").unwrap_or(place);
        let hides = |exclusions: &Exclusions| match reach {
            Reach::Whole => exclusions.touch(place),
            Reach::Put => exclusions.contains(place),
        };
        self.0.iter().find(|(_, exclusions)| hides(exclusions)).map(|(path, _)| path.as_path())
    }

    fn must_not(&self, place: &Path, reach: Reach, what: impl FnOnce() -> String) -> Result<(), Error> {
        match self.find(place, reach) {
            Some(mount) => Err(Error::Hidden { what: what(), by: mount.to_owned() }),
            None => Ok(()),
        }
    }
}

/// Takes an isolation that hides nothing that the plan names for RUNs.
///
/// # Errors
/// [`Error::Hidden`], at the instruction, where there is none, or another one was asked for.
pub(super) fn settle(plan: &BuildPlan, services: &mut Services) -> Result<(), Error> {
    let hiding = Hiding::of(services);
    let hidden = plan.destinations_of_runs().into_iter().try_for_each(|destination| {
        let found = hiding.must_not(Path::new(&destination.path), destination.reach, || destination.what.clone());
        found.map_err(|error| error.at(destination.span, None))
    });
    match hidden {
        Err(error) if gives_way(&error, services) => Ok(()),
        hidden => hidden,
    }
}

/// Takes another isolation, if what went wrong is that the one in use hides something, and there is one.
pub(super) fn gives_way(error: &Error, services: &mut Services) -> bool {
    let error = if let Error::At { source, .. } = error { source } else { error };
    let is_hidden = matches!(error, Error::Hidden { .. } | Error::Isolation(isolation::Error::Obstructed { .. }));
    if !is_hidden || services.cancel.is_interrupted() {
        return false;
    }
    if let Err(error) = services.finish_isolation() {
        super::not_put_back(services, &error);
        return false;
    }
    let Some((isolation, chosen)) = services.isolation.instead(&error.to_string()) else { return false };
    chosen.tell(&*services.reporter);
    services.fidelity = chosen.fidelity;
    services.isolation = isolation;
    services.run.forget_copies();
    services.cancel.resume()
}

/// Refuses a layer that has files where RUN would not see them.
///
/// A directory that lies under a mount, with nothing in it, is none: most images have a `/tmp`.
///
/// # Errors
/// [`Error::Hidden`].
pub(super) fn check_layer(layer: &LayerInventory, services: &Services) -> Result<(), Error> {
    let hiding = Hiding::of(services);
    if hiding.0.is_empty() {
        return Ok(());
    }
    let all = Exclusions::new(hiding.0.iter().map(|(path, _)| path));
    for entry in layer.entries() {
        let path = entry.path.as_path();
        let is_directory = entry.kind == EntryKind::Directory;
        let is_below = || path.parent().is_some_and(|parent| all.contains(parent));
        let is_hidden = if is_directory { is_below() } else { all.touch(path) };
        if is_hidden {
            hiding.must_not(path, Reach::Whole, || format!("/{} of the image", path.display()))?;
        }
    }
    Ok(())
}

/// Refuses a RUN whose directory, or whose user's home, is not the image's.
///
/// # Errors
/// [`Error::Hidden`], and what cannot be read.
pub(super) fn check_run(
    step: &RunStep,
    credentials: &Credentials,
    tree: &Tree,
    services: &Services,
) -> Result<(), Error> {
    let hiding = Hiding::of(services);
    if hiding.0.is_empty() {
        return Ok(());
    }
    // Links of the image lead elsewhere than the plan could know.
    let directory = real(tree, Path::new(&step.directory))?;
    if !directory.as_os_str().is_empty() {
        hiding.must_not(&directory, Reach::Whole, || format!("the working directory {}", step.directory))?;
    }
    let home = real(tree, &credentials.home)?;
    if credentials.uid != 0 && !home.as_os_str().is_empty() {
        hiding.must_not(&home, Reach::Whole, || {
            format!("the home of USER {}, {},", step.user, credentials.home.display())
        })?;
    }
    Ok(())
}

/// Follows the links in what exists of a path.
fn real(tree: &Tree, path: &Path) -> Result<PathBuf, Error> {
    for existing in path.ancestors() {
        if let Some(real) = tree.real_path(existing)? {
            let missing = path.strip_prefix(existing).unwrap_or(Path::new(""));
            return Ok(real.components().chain(missing.components()).collect());
        }
    }
    Ok(path.strip_prefix("/").unwrap_or(path).to_owned())
}
