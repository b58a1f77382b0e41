//! What is there for one RUN only: files of other stages, caches, secrets, agents.
//!
//! Knows how what the plan names gets onto the disk, and whose it is meanwhile; how it gets into the root file system
//! is the isolation's.
//!
//! *Invariant: after [`Prepared::finish`] nothing of it is left but what caches hold.*

mod check;
mod copies;
mod kept;
mod strangers;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::cache::key::Frames;
use crate::cache::{CacheKey, CacheMounts, FIRST_INSTANCE, Lease, MountRepository, Pruned, Use};
use crate::dockerfile::{MountOwner, Sharing};
use crate::isolation::{Access, Agent, AgentSocket, Confidential, Mount, MountSource, Mounting};
use crate::oci::Digest;
use crate::plan::{CacheMount, CopyFrom, Mounted, RunStep};
use crate::progress::Event;
use crate::request::BuildRequest;
use crate::rootfs::{self, Contents, Snapshot};

pub(in crate::builder) use check::check;
pub(in crate::builder) use kept::{keep, pack};

use kept::{Begun, Packed};

use super::run::Live;
use super::stage::{Progress, Shared};
use super::witness::{Observer, Reader, Witness};
use super::{Error, Services, unpoisoned};

/// What RUNs may ask for.
#[derive(Default)]
pub struct RunServices {
    /// Secrets by id.
    pub secrets: BTreeMap<String, Confidential>,
    /// SSH agents by id.
    pub agents: BTreeMap<String, Agent>,
    /// Cache mounts that outlive the build; none when they do not.
    pub caches: Option<CacheMounts>,
    /// Where cache mounts are kept for other pods, if anywhere.
    pub repository: Option<MountRepository>,
    /// Who makes a cache mount, by its directory: one at a time.
    turns: Mutex<BTreeMap<PathBuf, Arc<Mutex<()>>>>,
    /// The cache mounts that have begun in this build, and may be kept there.
    begun: Mutex<BTreeMap<CacheKey, Begun>>,
    /// Those of them that are to be sent.
    packed: Mutex<BTreeMap<CacheKey, Packed>>,
    /// Copies for read-only mounts that are kept for the next RUN, by what they are copies of.
    copies: Mutex<Vec<Copied>>,
    /// The cache mounts whose files are the isolation's own by now.
    taken_over: Mutex<BTreeSet<PathBuf>>,
}

/// A copy for read-only mounts.
struct Copied {
    from: CopyFrom,
    source: String,
    path: PathBuf,
    /// What it is a copy of, as keys have it; none where that is not known.
    content: Option<Digest>,
}

/// All that is there for one RUN.
#[derive(Default)]
pub(super) struct Prepared {
    /// What the isolation puts into the root file system, in order.
    pub(super) mounts: Vec<Mount>,
    /// Variables that the process gets beside its environment.
    pub(super) variables: Vec<(OsString, OsString)>,
    leases: BTreeMap<Digest, Lease>,
    agents: Vec<AgentSocket>,
    /// Root file systems that are mounted from.
    lives: Vec<Arc<Live>>,
    /// Caches that were moved in place: RUN may have linked files of theirs to the image's.
    placed: Vec<PathBuf>,
    /// Copies of caches that replace the instances afterwards.
    copies: Vec<Worked>,
    /// The mounts that show files of a context where they are.
    shown: Vec<Reader>,
    /// Where copies and sockets are.
    directory: Option<PathBuf>,
}

/// A copy of a cache that RUN works with.
struct Worked {
    copy: PathBuf,
    /// The cache itself.
    instance: PathBuf,
    /// The copy when it was made.
    before: Snapshot,
}

/// A RUN's mounts while they are made.
struct Preparation<'a, 's> {
    shared: &'a Shared<'s>,
    mounting: Mounting,
    /// What the stage is for.
    platform: String,
    directory: PathBuf,
    prepared: Prepared,
    copied: usize,
    reading: Reading<'a>,
}

/// What a RUN's mounts read of contexts, and what the RUN's key says of it.
#[derive(Clone, Copy)]
struct Reading<'a> {
    witness: Option<&'a Witness>,
    reader: Reader,
}

impl<'a> Reading<'a> {
    fn observer(&self) -> Option<Observer<'a>> {
        self.witness.map(|witness| witness.compare(self.reader))
    }
}

const DIRECTORY: u32 = 0o755;
const SCRIPT: u32 = 0o755;
const SECRET: u32 = 0o400;
const SOCKET: u32 = 0o600;

impl Shared<'_> {
    /// Makes what a RUN has mounts for; to be ended with [`Prepared::finish`] whatever becomes of the RUN.
    pub(super) fn prepare(
        &self,
        step: &RunStep,
        progress: &Progress,
        witness: Option<&Witness>,
    ) -> Result<Prepared, Error> {
        if step.mounts.is_empty() {
            return Ok(Prepared::default());
        }
        let isolation = &self.services.isolation;
        let directory = isolation.workspace()?.join(format!("stage-{}", progress.id.0));
        let prepared = Prepared { directory: Some(directory.clone()), ..Prepared::default() };
        let mounting = isolation.abilities().mounting;
        let platform = progress.image.config.platform.to_string();
        let reading = Reading { witness, reader: progress.reader(0) };
        let mut preparation = Preparation { shared: self, mounting, platform, directory, prepared, copied: 0, reading };
        match preparation.all(step) {
            Ok(()) => Ok(preparation.prepared),
            Err(error) => {
                // The first error is the one to tell.
                let _ = preparation.prepared.finish(self);
                Err(error)
            }
        }
    }
}

/// Keeps the cache mounts that outlive the build within their limits.
pub(super) fn prune(request: &BuildRequest, services: &Services) {
    let limits = &request.run.caches;
    let Some(caches) = &services.run.caches else { return };
    match caches.prune(limits.max_age, limits.max_size) {
        Ok(Pruned { removed: 0, .. }) => {}
        Ok(Pruned { removed, freed, left }) => {
            let mounts = if removed == 1 { "cache mount" } else { "cache mounts" };
            let sizes =
                if limits.max_size.is_some() { format!(", {freed} bytes; {left} are left") } else { String::new() };
            services.reporter.report(Event::Note(&format!("removed {removed} {mounts}{sizes}")));
        }
        Err(error) => {
            let message = format!("cache mounts are not kept within their limits: {error}");
            services.reporter.report(Event::Warning { rule: "CacheMountsNotPruned", line: None, message: &message });
        }
    }
}

impl RunServices {
    /// Takes what was read from where the flags say.
    pub fn new(
        secrets: BTreeMap<String, Confidential>,
        agents: BTreeMap<String, Agent>,
        caches: Option<CacheMounts>,
        repository: Option<MountRepository>,
    ) -> Self {
        Self { secrets, agents, caches, repository, ..Self::default() }
    }

    /// Returns what is locked while the directory of a cache mount is made.
    fn turn(&self, data: &Path) -> Arc<Mutex<()>> {
        let mut turns = unpoisoned(&self.turns);
        Arc::clone(turns.entry(data.to_owned()).or_default())
    }

    /// Forgets the copies that were made for mounts: they are gone with the isolation's workspace.
    pub(super) fn forget_copies(&self) {
        unpoisoned(&self.copies).clear();
    }
}

impl Prepared {
    /// Takes note that the RUN did not end by itself: what it has left in caches may be torn, and is not kept.
    pub(super) fn was_killed(&self, shared: &Shared<'_>) {
        let is_mine = |begun: &Begun| self.leases.values().any(|lease| lease.data == begun.data);
        let mut begun = unpoisoned(&shared.services.run.begun);
        begun.retain(|_, begun| !is_mine(begun));
    }

    /// Finds out whether files of contexts that were shown where they are have stayed what the RUN's key says.
    pub(super) fn look_again(&self, witness: Option<&Witness>) -> Result<(), Error> {
        let Some(witness) = witness else { return Ok(()) };
        self.shown.iter().try_for_each(|reader| witness.look_again(*reader))
    }

    /// Takes all away, and gives caches back what is theirs.
    pub(super) fn finish(mut self, shared: &Shared<'_>) -> Result<(), Error> {
        self.agents.clear();
        self.lives.clear();
        let mut result = Ok(());
        for placed in self.placed.iter().filter(|placed| placed.is_dir()) {
            result = result
                .and(shared.services.tree(placed).and_then(|tree| rootfs::part(&tree)).map(drop).map_err(Error::from));
        }
        for worked in &self.copies {
            result = result.and(shared.replace(worked));
        }
        self.leases.clear();
        if let Some(directory) = self.directory.take().filter(|directory| directory.exists()) {
            result = result.and(super::files::remove_scratch(&directory));
        }
        result
    }
}

impl Preparation<'_, '_> {
    fn all(&mut self, step: &RunStep) -> Result<(), Error> {
        self.lease(step)?;
        for (number, mount) in step.mounts.iter().enumerate() {
            self.reading.reader.mount = number + 1;
            let target = mount.target.as_deref().map(PathBuf::from);
            let what = match &mount.what {
                Mounted::Bind { from, source, read_only } => Some(self.bind(from, source, *read_only)?),
                Mounted::Cache(cache) => Some(self.cache(cache)?),
                Mounted::Tmpfs { size } => Some(MountSource::Tmpfs { size: *size }),
                Mounted::Secret { id, variable, owner, .. } => self.secret(id, variable.as_deref(), *owner),
                Mounted::Ssh { id, owner, .. } => self.agent(id, *owner)?,
                Mounted::Script(text) => {
                    let access = Access { mode: SCRIPT, ..Access::FILE };
                    Some(MountSource::File { content: Confidential(text.clone().into_bytes()), access })
                }
            };
            if let (Some(target), Some(what)) = (target, what) {
                self.prepared.mounts.push(Mount { target, what });
            }
        }
        Ok(())
    }

    /// Makes a directory for one thing.
    fn room(&mut self) -> Result<PathBuf, Error> {
        self.copied += 1;
        let room = self.directory.join(self.copied.to_string());
        create(&room)?;
        Ok(room)
    }

    fn secret(&mut self, id: &str, variable: Option<&str>, owner: MountOwner) -> Option<MountSource> {
        // One that is required is there: that was checked before anything was built.
        let content = self.shared.services.run.secrets.get(id)?.clone();
        if let Some(name) = variable {
            self.prepared.variables.push((name.into(), OsString::from_vec(content.0.clone())));
        }
        Some(MountSource::File { content, access: access(owner, SECRET) })
    }

    fn agent(&mut self, id: &str, owner: MountOwner) -> Result<Option<MountSource>, Error> {
        let Some(agent) = self.shared.services.run.agents.get(id) else { return Ok(None) };
        let source = self.room()?.join("agent");
        self.prepared.agents.push(agent.listen(&source, access(owner, SOCKET))?);
        Ok(Some(MountSource::Bind { source, read_only: false }))
    }

    fn bind(&mut self, from: &CopyFrom, source: &str, read_only: bool) -> Result<MountSource, Error> {
        let path = Path::new(source.trim_start_matches('/'));
        if read_only
            && self.mounting == Mounting::Mounted
            && let Some(source) = self.on_disk(from, path)?
        {
            return Ok(MountSource::Bind { source, read_only });
        }
        if read_only && self.mounting == Mounting::Mounted {
            return Ok(MountSource::Bind { source: self.kept_copy(from, source)?, read_only });
        }
        let room = self.room()?;
        let source = self.shared.copy_out(from, path, &room, self.reading.observer())?;
        Ok(MountSource::Bind { source, read_only })
    }

    /// Returns a copy that nobody can write to and that other RUNs use, too; it stays until the build ends.
    fn kept_copy(&self, from: &CopyFrom, source: &str) -> Result<PathBuf, Error> {
        let (services, Reading { witness, reader }) = (self.shared.services, self.reading);
        let wanted = witness.and_then(|witness| witness.digest(reader));
        let mut copies = unpoisoned(&services.run.copies);
        if let Some(kept) = copies.iter().find(|kept| kept.from == *from && kept.source == source) {
            if let Some(witness) = witness.filter(|_| wanted.is_some() && kept.content != wanted) {
                witness.contradict(reader);
            }
            return Ok(kept.path.clone());
        }
        let room = services.isolation.workspace()?.join("copies").join(copies.len().to_string());
        create(&room)?;
        let observer = self.reading.observer();
        let path = self.shared.copy_out(from, Path::new(source.trim_start_matches('/')), &room, observer)?;
        let content = wanted.filter(|_| witness.is_some_and(|witness| witness.holds_for(reader)));
        copies.push(Copied { from: from.clone(), source: source.to_owned(), path: path.clone(), content });
        Ok(path)
    }

    /// Finds files that are on disk already as RUN shall see them.
    fn on_disk(&mut self, from: &CopyFrom, path: &Path) -> Result<Option<PathBuf>, Error> {
        if let CopyFrom::Stage(id) = from {
            let Some(live) = self.shared.finished(*id).live().filter(|live| live.holds_everything()) else {
                return Ok(None);
            };
            let Some(real) = live.tree().real_path(path)? else { return Ok(None) };
            let found = live.tree().path().join(real);
            self.prepared.lives.push(live);
            return Ok(Some(found));
        }
        let found = self.shared.with_source(from, |opened| {
            let (Some(tree), Some(directory)) = (opened.tree, opened.directory(path)?) else { return Ok(None) };
            // Files of a context belong to nobody: RUN sees them as root's.
            let below = directory.strip_prefix(tree.path()).unwrap_or(Path::new(""));
            Ok(strangers::can_be_shown(tree, below, self.shared.services)?.then_some(directory))
        })?;
        self.prepared.shown.extend(found.iter().map(|_| self.reading.reader));
        Ok(found)
    }

    /// Takes all leases that the RUN needs, in an order that is the same for all RUNs: none waits for another in
    /// a circle.
    fn lease(&mut self, step: &RunStep) -> Result<(), Error> {
        let mut wanted: BTreeMap<Digest, (Use, &CacheMount)> = BTreeMap::new();
        for mount in &step.mounts {
            if let Mounted::Cache(cache) = &mount.what {
                let how = self.how(cache.sharing);
                let first = wanted.entry(self.identity(cache)).or_insert((how, cache));
                if how == Use::Alone {
                    first.0 = how;
                }
            }
        }
        let caches = self.caches()?;
        let services = self.shared.services;
        for (identity, (how, cache)) in wanted {
            let mut told = false;
            let mut wait = || {
                if services.cancel.is_cancelled() {
                    return Err(Error::Interrupted);
                }
                if !std::mem::replace(&mut told, true) {
                    let note = format!("waiting for the cache mount {}, which another RUN uses", cache.id);
                    services.reporter.report(Event::Note(&note));
                }
                Ok(())
            };
            let lease = caches.lease(&identity, &cache.id, how, &mut wait)?;
            self.prepared.leases.insert(identity, lease);
        }
        Ok(())
    }

    /// Tells cache mounts apart. Programs of other platforms have nothing to look for in one that goes to other pods.
    fn identity(&self, cache: &CacheMount) -> Digest {
        let identity = identity(cache);
        match self.shared.services.run.repository {
            Some(_) => Frames::new("platform").with(identity.as_str()).with(&self.platform).digest(),
            None => identity,
        }
    }

    fn caches(&self) -> Result<CacheMounts, Error> {
        match &self.shared.services.run.caches {
            Some(caches) => Ok(caches.clone()),
            None => Ok(CacheMounts::new(&self.shared.services.isolation.workspace()?.join("caches"), "build")),
        }
    }

    /// Says how a cache is used: what is moved or copied in place is nobody else's meanwhile.
    fn how(&self, sharing: Sharing) -> Use {
        match (sharing, self.mounting) {
            (Sharing::Private, _) => Use::Private,
            (Sharing::Locked, _) => Use::Alone,
            (Sharing::Shared, Mounting::Mounted) => Use::Shared,
            (Sharing::Shared, Mounting::Moved | Mounting::MovedBeside) => Use::Alone,
        }
    }

    fn cache(&mut self, cache: &CacheMount) -> Result<MountSource, Error> {
        let identity = self.identity(cache);
        let data = self.prepared.leases.get(&identity).map(|lease| lease.data.clone());
        let data = data.expect("all were leased");
        let services = &self.shared.services.run;
        // Of several instances, the first one is kept.
        let is_kept = services.repository.is_some() && data.ends_with(FIRST_INSTANCE);
        let key = is_kept.then(|| Frames::new("cache mount").with(identity.as_str()).key());
        self.shared.begin_cache(cache, &data, key.as_ref(), self.reading.observer())?;
        let lasts = services.caches.is_some();
        let read_only = cache.read_only;
        let inside = |base: &Path| match (&cache.from, cache.source.trim_start_matches('/')) {
            (Some(_), _) | (None, "") => Ok(base.to_owned()),
            (None, below) => {
                let tree = self.shared.services.tree(base)?;
                tree.create_directories(Path::new(below), 0o755)?;
                let real = tree.real_path(Path::new(below))?;
                Ok::<_, Error>(base.join(real.unwrap_or_else(|| below.into())))
            }
        };
        if self.mounting == Mounting::Mounted {
            if unpoisoned(&services.taken_over).insert(data.clone()) {
                strangers::take_over(&data, self.shared.services)?;
            }
            return Ok(MountSource::Shared { source: inside(&data)?, read_only });
        }
        // A volume is another file system, from which nothing can be moved.
        if lasts {
            return Ok(MountSource::Bind { source: inside(&self.worked(data, read_only)?)?, read_only });
        }
        self.prepared.placed.push(data.clone());
        Ok(MountSource::Bind { source: inside(&data)?, read_only })
    }

    /// Makes a copy of a cache to work with; it replaces the cache afterwards, unless that is read-only.
    fn worked(&mut self, instance: PathBuf, read_only: bool) -> Result<PathBuf, Error> {
        let copy = self.room()?.join("cache");
        create(&copy)?;
        let services = self.shared.services;
        rootfs::duplicate(&services.tree(&instance)?, &services.tree(&copy)?, None)?;
        if !read_only {
            let made = services.files(&copy)?;
            let mut before = Snapshot::take(&made, &Contents::default())?;
            before.settle();
            self.prepared.copies.push(Worked { copy: copy.clone(), instance, before });
        }
        Ok(copy)
    }
}

/// Tells all cache mounts apart that are not one: what they begin with, and whose they are, counts too, as in
/// BuildKit.
fn identity(cache: &CacheMount) -> Digest {
    let CacheMount { id, sharing: _, from, source, owner, read_only: _ } = cache;
    let from = match from {
        Some(CopyFrom::Stage(_)) => format!("stage {source}"),
        Some(from) => format!("{from:?} {source}"),
        None => String::new(),
    };
    let owner = (owner.mode.unwrap_or(DIRECTORY), owner.uid.unwrap_or(0), owner.gid.unwrap_or(0));
    Digest::of(format!("{}:{id}\0{}:{from}\0{owner:?}", id.len(), from.len()).as_bytes())
}

fn access(owner: MountOwner, mode: u32) -> Access {
    Access { mode: owner.mode.unwrap_or(mode), uid: owner.uid.unwrap_or(0), gid: owner.gid.unwrap_or(0) }
}

fn create(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(state("create", path))
}

fn state(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::State { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_begins_a_cache_keeps_nobody_from_another_one() {
        let services = RunServices::default();
        let turn = services.turn(Path::new("/caches/a/data-0"));
        let _held = turn.lock().unwrap();
        assert!(services.turn(Path::new("/caches/a/data-0")).try_lock().is_err());
        assert!(services.turn(Path::new("/caches/b/data-0")).try_lock().is_ok());
    }

    #[test]
    fn caches_differ_by_all_that_makes_them_what_they_are() {
        let cache = CacheMount {
            id: "a".to_owned(),
            sharing: Sharing::Shared,
            from: None,
            source: "/".to_owned(),
            owner: MountOwner::default(),
            read_only: false,
        };
        let same = [
            CacheMount { sharing: Sharing::Locked, ..cache.clone() },
            CacheMount { read_only: true, ..cache.clone() },
            CacheMount { source: "/below".to_owned(), ..cache.clone() },
            CacheMount { owner: MountOwner { mode: Some(0o755), uid: Some(0), gid: None }, ..cache.clone() },
        ];
        let other = [
            CacheMount { id: "b".to_owned(), ..cache.clone() },
            CacheMount { from: Some(CopyFrom::Context), ..cache.clone() },
            CacheMount { owner: MountOwner { uid: Some(1), ..MountOwner::default() }, ..cache.clone() },
        ];
        assert!(same.iter().all(|one| identity(one) == identity(&cache)));
        assert!(other.iter().all(|one| identity(one) != identity(&cache)));
    }
}
