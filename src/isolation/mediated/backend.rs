//! The backend: root file systems below the state directory, whose owners are in a table, and a supervisor for each RUN.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Ground;
use super::probe::{Allowed, probe};
use crate::isolation::directories::{Directories, files};
use crate::isolation::planned::plan;
use crate::isolation::protocol::{Place, Spec};
use crate::isolation::stubs::Stubs;
use crate::isolation::supervise::supervise;
use crate::isolation::{
    Abilities, Cancel, Capacity, Error, Exit, HostFiles, Isolation, Mount, MountSource, Mounting, Process, Stream,
    rights,
};
use crate::rootfs::{self, Owners, Rootfs, Tree};

/// Who supervisor and tasks are, where the executor is root: a user that no image and no node has a use for.
const OTHER: (u32, u32) = (65532, 65532);

/// The backend.
#[derive(Debug)]
pub(in crate::isolation) struct Mediated {
    directories: Directories,
    state: PathBuf,
    host_files: HostFiles,
    allowed: Allowed,
    user: Option<(u32, u32)>,
    /// Who owns the files of all root file systems and of what is mounted.
    owners: Arc<Owners>,
    /// What was refused in the last RUN.
    refused: Mutex<String>,
    cancel: Cancel,
}

impl Mediated {
    /// Prepares for root file systems below `state`, and tries whether the pod allows what it takes: else why not.
    pub(in crate::isolation) fn open(state: &Path, host_files: HostFiles, cancel: Cancel) -> Result<Self, String> {
        let allowed = probe(state)?;
        let user = rustix::process::geteuid().is_root().then_some(OTHER);
        let (directories, state, refused) = (Directories::new(state), state.to_owned(), Mutex::default());
        let owners = Arc::new(Owners::new(user));
        let isolation = Self { directories, state, host_files, allowed, user, owners, refused, cancel };
        let tried = isolation.try_out();
        let cleared = isolation.finish();
        tried.map_err(|error| format!("it was tried, and fails: {error}"))?;
        cleared.map_err(|error| error.to_string())?;
        Ok(isolation)
    }

    /// Runs a small program: this one, with nothing to do.
    fn try_out(&self) -> Result<(), Error> {
        let own = fs::read_link("/proc/self/exe").map_err(files("reading", Path::new("/proc/self/exe")))?;
        let program = Path::new("/program");
        let process = Process {
            argv: vec![program.into(), "init".into()],
            directory: PathBuf::from("/"),
            mounts: vec![Mount {
                target: program.to_owned(),
                what: MountSource::Shared { source: own, read_only: true },
            }],
            ..Process::default()
        };
        let rootfs = self.rootfs(0, &|_| {})?;
        let mut text = Vec::new();
        match self.run(&rootfs, &process, &mut |_, bytes| text.extend_from_slice(bytes))? {
            // It ends so, without a word, where it is told nothing.
            Exit::Status(1) if text.is_empty() => Ok(()),
            exit => Err(Error::InitLost { text: format!("{exit:?} {}", String::from_utf8_lossy(&text)) }),
        }
    }

    /// Says what is weaker than elsewhere.
    pub(in crate::isolation) fn warnings(&self) -> Vec<String> {
        let without = "this kernel has no Landlock, or has it switched off: the supervisor alone keeps RUN in its root";
        if self.allowed.landlock == 0 { vec![without.to_owned()] } else { Vec::new() }
    }

    /// Gives a directory to who works in it.
    fn give(&self, path: &Path) -> Result<(), Error> {
        match self.user {
            Some((uid, gid)) => chown(path, Some(uid), Some(gid)).map_err(files("giving away", path)),
            None => Ok(()),
        }
    }

    fn prepare(&self, rootfs: &Rootfs, process: &Process, stubs: &mut Stubs, scratch: &Path) -> Result<Ground, Error> {
        let mounts = plan(&self.host_files, stubs, process, scratch)?;
        let (made, sockets) = (scratch.join("mounts"), self.directories.short()?);
        fs::create_dir(&made).map_err(files("making", &made))?;
        let table = scratch.join("owners");
        self.owners.save(&table).map_err(files("writing", &table))?;
        self.give(&table)?;
        // Whoever connects to a socket goes through these by name.
        for path in [self.state.as_path(), self.directories.base(), scratch, &made, &sockets] {
            if self.user.is_some() {
                let open = fs::Permissions::from_mode(0o711);
                fs::set_permissions(path, open).map_err(files("opening", path))?;
            }
        }
        for path in [scratch, &made, &sockets] {
            self.give(path)?;
        }
        for planned in &mounts {
            if let crate::isolation::protocol::What::Bind { source, .. } = &planned.what
                && source.starts_with(scratch)
            {
                self.give(source)?;
            }
        }
        Ok(Ground {
            root: rootfs.path.clone(),
            scratch: scratch.to_owned(),
            sockets,
            mounts,
            page: self.allowed.page,
            user: self.user,
        })
    }
}

impl Isolation for Mediated {
    fn rootfs(&self, stage: usize, _tell: &dyn Fn(&str)) -> Result<Rootfs, Error> {
        let rootfs = self.directories.rootfs(stage)?;
        self.give(&rootfs.path)?;
        Ok(Rootfs { tree: self.tree(&rootfs.path)?, ..rootfs })
    }

    fn run(&self, rootfs: &Rootfs, process: &Process, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit, Error> {
        let scratch = self.directories.scratch()?;
        let mut stubs = Stubs::new(&rootfs.path);
        let mut sockets = None;
        let result = self.prepare(rootfs, process, &mut stubs, &scratch).and_then(|ground| {
            sockets = Some(ground.sockets.clone());
            let spec = Spec {
                process: process.clone(),
                place: Place::Mediated(ground),
                capabilities: rights::CAPABILITIES.bits(),
            };
            let exit = supervise(&spec, &self.cancel, output)?;
            let changes = scratch.join("changes");
            self.owners.load(&changes).map_err(files("reading", &changes))?;
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) =
                fs::read_to_string(scratch.join("refused")).unwrap_or_default();
            Ok(exit)
        });
        let without_sockets = sockets.map_or(Ok(()), |sockets| self.directories.remove(&sockets));
        let cleared = stubs.remove().and(without_sockets).and(self.directories.remove(&scratch));
        let exit = result?;
        cleared.map(|()| exit)
    }

    fn discard(&self, rootfs: Rootfs) -> Result<(), Error> {
        self.directories.remove(&rootfs.path)
    }

    fn holds(&self) -> Capacity {
        Capacity::Many
    }

    fn abilities(&self) -> Abilities {
        Abilities { isolation: "mediated", mounting: Mounting::Mounted }
    }

    fn explain(&self, _output: &[u8]) -> Option<String> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        (!refused.is_empty()).then(|| {
            format!(
                "mediated isolation has refused {refused}; --isolation namespace or container, where a pod allows it, may have them"
            )
        })
    }

    fn tree(&self, path: &Path) -> Result<Tree, rootfs::Error> {
        Ok(Tree::open(path)?.with_owners(Arc::clone(&self.owners)))
    }

    fn owners(&self) -> Option<Arc<Owners>> {
        Some(Arc::clone(&self.owners))
    }

    fn workspace(&self) -> Result<PathBuf, Error> {
        let workspace = self.directories.workspace()?;
        self.give(&workspace)?;
        Ok(workspace)
    }

    fn finish(&self) -> Result<(), Error> {
        self.directories.remove_all()
    }
}
