//! What had to be left out between a layer and the disk, without failing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Something that was left out, told once for all files it happened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What was left out.
    pub omission: Omission,
    /// The first file it happened to, from the root.
    pub path: PathBuf,
    /// How many files it happened to.
    pub count: usize,
}

/// What can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Omission {
    /// A device, which only root outside of user namespaces may create.
    Device,
    /// An owner or group that this user namespace does not have.
    Owner,
    /// Extended attributes that the kernel or the file system refused.
    Xattrs,
    /// A file that stands where a directory must stay, since something in it is excluded.
    InTheWay,
    /// A file that a link of the image leads out of it, to what is mounted here.
    Excluded,
    /// A hard link to a file that is excluded.
    LinkToExcluded,
    /// A socket, which a layer cannot hold.
    Socket,
    /// A file whose name means a removal in a layer.
    ReservedName,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.omission {
            Omission::Device => "is a device, which may not be created here: left out",
            Omission::Owner => "has an owner or group that does not exist in this user namespace: not set",
            Omission::Xattrs => {
                "has extended attributes that cannot be set here: RUN does not see them, the layer keeps them"
            }
            Omission::InTheWay => {
                "is no directory in the image, but must stay one here for what is mounted below it: not replaced, \
                 and left alone from now on"
            }
            Omission::Excluded => "would be written through a link into what is not the image's: left out",
            Omission::LinkToExcluded => "is a hard link to a path that is excluded: left out",
            Omission::Socket => "is a socket, which a layer cannot hold: left out",
            Omission::ReservedName => "has a name that begins with `.wh.`, which would remove a file: left out",
        };
        write!(f, "/{} {what}", self.path.display())?;
        match self.count {
            0 | 1 => Ok(()),
            count => write!(f, " (and {} more)", count - 1),
        }
    }
}

/// Collects warnings, one of a kind.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    by_omission: BTreeMap<Omission, Warning>,
}

impl Warnings {
    pub(super) fn add(&mut self, omission: Omission, path: &Path) {
        self.by_omission
            .entry(omission)
            .or_insert_with(|| Warning { omission, path: path.to_owned(), count: 0 })
            .count += 1;
    }

    pub(super) fn into_vec(self) -> Vec<Warning> {
        self.by_omission.into_values().collect()
    }
}
