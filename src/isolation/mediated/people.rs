//! Who a process of RUN is, as far as RUN can tell: ids, groups, capabilities, and the rules by which they change.
//!
//! The kernel keeps which entry of this table a process has, as the soft limit of its locks (`RLIMIT_LOCKS`), which no
//! kernel has heeded since 2.4 and each child inherits. Sources: credentials(7), capabilities(7), setresuid(2).

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::io::Errno;

use crate::sys::process::Pid;
use crate::sys::tracee;

/// "Leave it as it is", in calls that take ids.
pub(super) const NONE: u32 = u32::MAX;

/// Capability numbers. Source: linux/capability.h.
pub(super) const CHOWN: u32 = 0;
pub(super) const DAC_OVERRIDE: u32 = 1;
pub(super) const DAC_READ_SEARCH: u32 = 2;
pub(super) const FOWNER: u32 = 3;
pub(super) const FSETID: u32 = 4;
pub(super) const SETGID: u32 = 6;
pub(super) const SETUID: u32 = 7;
pub(super) const SETPCAP: u32 = 8;
pub(super) const SYS_CHROOT: u32 = 18;
pub(super) const MKNOD: u32 = 27;
pub(super) const SETFCAP: u32 = 31;
/// The last that there is.
pub(super) const LAST_CAPABILITY: u32 = 40;
/// Those that go with the file system's user id: CHOWN to FSETID, LINUX_IMMUTABLE, MKNOD, MAC_OVERRIDE.
const OF_FILES: u64 = 0x1f | 1 << 9 | 1 << 27 | 1 << 32;

/// Real, effective, saved and file system id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ids {
    pub(super) real: u32,
    pub(super) effective: u32,
    pub(super) saved: u32,
    pub(super) files: u32,
}

impl Ids {
    pub(super) fn all(id: u32) -> Self {
        Self { real: id, effective: id, saved: id, files: id }
    }

    fn is_one_of(&self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }
}

/// The sets of capabilities, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Capabilities {
    pub(super) permitted: u64,
    pub(super) effective: u64,
    pub(super) inheritable: u64,
    pub(super) bounding: u64,
    pub(super) ambient: u64,
}

/// Who a process is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Credentials {
    pub(super) user: Ids,
    pub(super) group: Ids,
    pub(super) groups: Vec<u32>,
    pub(super) capabilities: Capabilities,
    /// `PR_SET_KEEPCAPS`.
    pub(super) keeps: bool,
    /// Where its root is in RUN's; `/` before any chroot(2).
    pub(super) root: PathBuf,
}

impl Credentials {
    /// Makes those of a process that RUN begins with.
    pub(super) fn new(uid: u32, gid: u32, mut groups: Vec<u32>, bounding: u64) -> Self {
        // As the kernel keeps them.
        groups.sort_unstable();
        let own = if uid == 0 { bounding } else { 0 };
        let capabilities = Capabilities { permitted: own, effective: own, bounding, ..Capabilities::default() };
        Self { user: Ids::all(uid), group: Ids::all(gid), groups, capabilities, keeps: false, root: "/".into() }
    }

    /// Tells whether a capability is in effect.
    pub(super) fn can(&self, capability: u32) -> bool {
        self.capabilities.effective >> capability & 1 != 0
    }

    /// Tells whether its root is another than RUN's.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.root != Path::new("/")
    }

    /// Tells whether every directory can be searched and read.
    pub(super) fn passes(&self) -> bool {
        self.can(DAC_OVERRIDE) || self.can(DAC_READ_SEARCH)
    }

    pub(super) fn is_in(&self, group: u32) -> bool {
        self.group.files == group || self.groups.contains(&group)
    }

    /// Tells whether a file of this owner, group and mode may be read (4), written (2), executed or searched (1).
    pub(super) fn may(&self, uid: u32, gid: u32, mode: u32, wanted: u32) -> bool {
        let is_directory = mode & libc::S_IFMT == libc::S_IFDIR;
        let shift = if self.user.files == uid {
            6
        } else if self.is_in(gid) {
            3
        } else {
            0
        };
        if wanted & !(mode >> shift) & 7 == 0 {
            return true;
        }
        let executes = wanted & 1 != 0 && !is_directory && mode & 0o111 == 0;
        self.can(DAC_OVERRIDE) && !executes
            || self.can(DAC_READ_SEARCH) && (wanted == 4 || is_directory && wanted & 2 == 0)
    }

    /// Returns what they are after the user ids have become `user`.
    fn as_user(&self, user: Ids) -> Self {
        let mut capabilities = self.capabilities;
        let (old, new) = (self.user, user);
        let had_root = old.is_one_of(0);
        if had_root && !new.is_one_of(0) {
            if !self.keeps {
                (capabilities.permitted, capabilities.effective) = (0, 0);
            }
            capabilities.ambient = 0;
        }
        if old.effective == 0 && new.effective != 0 {
            capabilities.effective = 0;
        }
        if old.effective != 0 && new.effective == 0 {
            capabilities.effective = capabilities.permitted;
        }
        self.with_files_of(user, capabilities)
    }

    fn with_files_of(&self, user: Ids, mut capabilities: Capabilities) -> Self {
        if self.user.files == 0 && user.files != 0 {
            capabilities.effective &= !OF_FILES;
        }
        if self.user.files != 0 && user.files == 0 {
            capabilities.effective |= capabilities.permitted & OF_FILES;
        }
        Self { user, capabilities, ..self.clone() }
    }

    /// setuid(2)
    pub(super) fn set_user(&self, id: u32) -> Result<Self, Errno> {
        Ok(self.as_user(set_one(self.user, id, self.can(SETUID))?))
    }

    /// setgid(2)
    pub(super) fn set_group(&self, id: u32) -> Result<Self, Errno> {
        Ok(Self { group: set_one(self.group, id, self.can(SETGID))?, ..self.clone() })
    }

    /// setresuid(2)
    pub(super) fn set_users(&self, wanted: [u32; 3]) -> Result<Self, Errno> {
        Ok(self.as_user(set_three(self.user, wanted, self.can(SETUID))?))
    }

    /// setresgid(2)
    pub(super) fn set_three_groups(&self, wanted: [u32; 3]) -> Result<Self, Errno> {
        Ok(Self { group: set_three(self.group, wanted, self.can(SETGID))?, ..self.clone() })
    }

    /// setreuid(2)
    pub(super) fn set_two_users(&self, wanted: [u32; 2]) -> Result<Self, Errno> {
        Ok(self.as_user(set_two(self.user, wanted, self.can(SETUID))?))
    }

    /// setregid(2)
    pub(super) fn set_two_groups(&self, wanted: [u32; 2]) -> Result<Self, Errno> {
        Ok(Self { group: set_two(self.group, wanted, self.can(SETGID))?, ..self.clone() })
    }

    /// setfsuid(2), setfsgid(2): refused without a word.
    pub(super) fn set_files(&self, is_group: bool, id: u32) -> Self {
        let (ids, capability) = if is_group { (self.group, SETGID) } else { (self.user, SETUID) };
        if !(self.can(capability) || ids.is_one_of(id) || ids.files == id) || id == NONE {
            return self.clone();
        }
        let ids = Ids { files: id, ..ids };
        if is_group { Self { group: ids, ..self.clone() } } else { self.with_files_of(ids, self.capabilities) }
    }

    /// setgroups(2)
    pub(super) fn set_groups(&self, groups: Vec<u32>) -> Result<Self, Errno> {
        if self.can(SETGID) { Ok(Self { groups, ..self.clone() }) } else { Err(Errno::PERM) }
    }

    /// capset(2)
    pub(super) fn set_capabilities(&self, effective: u64, permitted: u64, inheritable: u64) -> Result<Self, Errno> {
        let old = self.capabilities;
        let grows = permitted & !old.permitted != 0 || effective & !permitted != 0;
        let inherits = inheritable & !(old.inheritable | old.permitted) != 0 && !self.can(SETPCAP);
        let beyond = inheritable & !(old.inheritable | old.bounding) != 0;
        if grows || inherits || beyond {
            return Err(Errno::PERM);
        }
        let ambient = old.ambient & permitted & inheritable;
        Ok(Self { capabilities: Capabilities { permitted, effective, inheritable, ambient, ..old }, ..self.clone() })
    }

    /// execve(2) of a file with these set-id bits and this capability attribute.
    pub(super) fn execute(&self, user: Option<u32>, group: Option<u32>, file: Option<FileCapabilities>) -> Self {
        let mut new = self.clone();
        new.keeps = false;
        new.user.effective = user.unwrap_or(self.user.effective);
        new.group.effective = group.unwrap_or(self.group.effective);
        for ids in [&mut new.user, &mut new.group] {
            (ids.saved, ids.files) = (ids.effective, ids.effective);
        }
        let old = self.capabilities;
        let gains = user.is_some() || group.is_some() || file.is_some();
        let ambient = if gains { 0 } else { old.ambient };
        let (permitted, effective) = if new.user.real == 0 || new.user.effective == 0 {
            let all = old.inheritable | old.bounding;
            (all, if new.user.effective == 0 { all } else { ambient })
        } else {
            let FileCapabilities { permitted, inheritable, effective } = file.unwrap_or_default();
            let permitted = permitted & old.bounding | inheritable & old.inheritable | ambient;
            (permitted, if effective { permitted } else { ambient })
        };
        new.capabilities = Capabilities { permitted, effective, ambient, ..old };
        new
    }
}

/// What `security.capability` of a file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FileCapabilities {
    permitted: u64,
    inheritable: u64,
    effective: bool,
}

impl FileCapabilities {
    /// Reads the attribute, of version 2 or 3. Source: linux/capability.h, `vfs_ns_cap_data`.
    pub(super) fn parse(attribute: &[u8]) -> Option<Self> {
        let word = |index: usize| {
            let bytes = attribute.get(index * 4..index * 4 + 4)?;
            Some(u64::from(u32::from_le_bytes(bytes.try_into().ok()?)))
        };
        let magic = word(0)?;
        (matches!(magic & 0xff00_0000, 0x0200_0000 | 0x0300_0000)).then_some(())?;
        Some(Self {
            permitted: word(1)? | word(3)? << 32,
            inheritable: word(2)? | word(4)? << 32,
            effective: magic & 1 != 0,
        })
    }
}

fn set_one(ids: Ids, id: u32, privileged: bool) -> Result<Ids, Errno> {
    if id == NONE {
        return Err(Errno::INVAL);
    }
    if privileged {
        Ok(Ids::all(id))
    } else if id == ids.real || id == ids.saved {
        Ok(Ids { effective: id, files: id, ..ids })
    } else {
        Err(Errno::PERM)
    }
}

fn set_three(ids: Ids, wanted: [u32; 3], privileged: bool) -> Result<Ids, Errno> {
    if wanted.iter().any(|id| *id != NONE && !privileged && !ids.is_one_of(*id)) {
        return Err(Errno::PERM);
    }
    let choose = |wanted: u32, old: u32| if wanted == NONE { old } else { wanted };
    let effective = choose(wanted[1], ids.effective);
    Ok(Ids { real: choose(wanted[0], ids.real), effective, saved: choose(wanted[2], ids.saved), files: effective })
}

fn set_two(ids: Ids, [real, effective]: [u32; 2], privileged: bool) -> Result<Ids, Errno> {
    let real_is_right = real == NONE || privileged || real == ids.real || real == ids.effective;
    if !real_is_right || !(effective == NONE || privileged || ids.is_one_of(effective)) {
        return Err(Errno::PERM);
    }
    let saves = real != NONE || effective != NONE && effective != ids.real;
    let mut new = ids;
    new.real = if real == NONE { ids.real } else { real };
    new.effective = if effective == NONE { ids.effective } else { effective };
    new.saved = if saves { new.effective } else { ids.saved };
    new.files = new.effective;
    Ok(new)
}

/// What the kernel keeps for us of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label {
    credentials: usize,
    program: usize,
    pub(super) umask: u32,
}

const UMASK_BITS: u32 = 9;
const INDEX_BITS: u32 = 20;
const MOST: usize = 1 << INDEX_BITS;

impl Label {
    /// That of a process that runs nothing yet.
    pub(super) const FIRST: Self = Self { credentials: 0, program: 0, umask: 0o022 };

    fn pack(self) -> u64 {
        let (credentials, program) = (self.credentials as u64, self.program as u64);
        u64::from(self.umask) | credentials << UMASK_BITS | program << (UMASK_BITS + INDEX_BITS)
    }

    fn unpack(value: u64) -> Self {
        let part = |shift: u32, bits: u32| usize::try_from(value >> shift & ((1 << bits) - 1)).unwrap_or_default();
        Self {
            credentials: part(UMASK_BITS, INDEX_BITS),
            program: part(UMASK_BITS + INDEX_BITS, INDEX_BITS),
            umask: u32::try_from(value & 0o777).unwrap_or_default(),
        }
    }

    /// Marks a process, or this one by its own number.
    pub(super) fn put_on(self, task: Pid) -> Result<(), Errno> {
        tracee::set_spare_limit(task, self.pack()).map_err(|errno| Errno::from_raw_os_error(errno as i32))
    }
}

/// All credentials and programs that labels name.
#[derive(Debug)]
pub(super) struct People {
    known: Vec<Rc<Credentials>>,
    by_value: HashMap<Rc<Credentials>, usize>,
    programs: Vec<OsString>,
    by_program: HashMap<OsString, usize>,
}

impl People {
    /// Begins with those that RUN begins with.
    pub(super) fn new(first: Credentials) -> Self {
        let first = Rc::new(first);
        Self {
            by_value: HashMap::from([(Rc::clone(&first), 0)]),
            known: vec![first],
            programs: vec![OsString::new()],
            by_program: HashMap::new(),
        }
    }

    /// Returns the label of a process.
    pub(super) fn label(&self, task: Pid) -> Result<Label, Errno> {
        let value = tracee::spare_limit(task).map_err(|_| Errno::SRCH)?;
        Ok(if value == u64::MAX { Label::FIRST } else { Label::unpack(value) })
    }

    /// Returns the credentials that a label names.
    pub(super) fn who(&self, label: Label) -> Rc<Credentials> {
        // A label comes from this table; one that does not has the least rights that there are.
        let nobody = || Rc::new(Credentials::new(65534, 65534, Vec::new(), 0));
        self.known.get(label.credentials).map_or_else(nobody, Rc::clone)
    }

    /// Returns the path of the program that a label names; empty before the first.
    pub(super) fn program(&self, label: Label) -> &OsString {
        self.programs.get(label.program).unwrap_or(&self.programs[0])
    }

    /// Returns a label with these credentials.
    pub(super) fn with(&mut self, label: Label, credentials: Credentials) -> Result<Label, Errno> {
        if let Some(index) = self.by_value.get(&credentials) {
            return Ok(Label { credentials: *index, ..label });
        }
        if self.known.len() == MOST {
            return Err(Errno::AGAIN);
        }
        let credentials = Rc::new(credentials);
        self.by_value.insert(Rc::clone(&credentials), self.known.len());
        self.known.push(credentials);
        Ok(Label { credentials: self.known.len() - 1, ..label })
    }

    /// Returns a label with this program.
    pub(super) fn executing(&mut self, label: Label, program: &OsString) -> Label {
        let index = self.by_program.get(program).copied().unwrap_or_else(|| {
            if self.programs.len() == MOST {
                return 0;
            }
            self.by_program.insert(program.clone(), self.programs.len());
            self.programs.push(program.clone());
            self.programs.len() - 1
        });
        Label { program: index, ..label }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = 0xa804_25fb;

    fn root() -> Credentials {
        Credentials::new(0, 0, Vec::new(), ALL)
    }

    #[test]
    fn labels_hold_what_they_are_given() {
        let label = Label { credentials: MOST - 1, program: MOST - 2, umask: 0o777 };
        assert_eq!(Label::unpack(label.pack()), label);
        assert!(label.pack() < u64::MAX >> 1);
    }

    #[test]
    fn root_that_becomes_a_user_has_no_rights_and_no_way_back() {
        let user = root().set_three_groups([5, 5, 5]).unwrap().set_users([1000, 1000, 1000]).unwrap();
        assert_eq!((user.capabilities.permitted, user.capabilities.effective), (0, 0));
        assert_eq!(user.set_user(0).unwrap_err(), Errno::PERM);
        let aside = root().set_users([NONE, 1000, NONE]).unwrap();
        assert_eq!((aside.capabilities.permitted, aside.capabilities.effective), (ALL, 0));
        assert_eq!(aside.set_users([NONE, 0, NONE]).unwrap().capabilities.effective, ALL);
        let kept = Credentials { keeps: true, ..root() }.set_user(7).unwrap();
        assert_eq!((kept.capabilities.permitted, kept.capabilities.effective), (ALL, 0));
    }

    #[test]
    fn a_setuid_program_gives_root_and_a_capable_one_what_it_says() {
        let user = root().set_user(1000).unwrap();
        let sudo = user.execute(Some(0), None, None);
        assert_eq!((sudo.user.real, sudo.user.effective, sudo.capabilities.effective), (1000, 0, ALL));
        let attribute = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let ping = user.execute(None, None, FileCapabilities::parse(&attribute));
        assert_eq!((ping.user.effective, ping.capabilities.effective), (1000, 1 << 13));
        assert_eq!(user.execute(None, None, None).capabilities.effective, 0);
        assert_eq!(FileCapabilities::parse(&attribute[..8]), None);
    }

    #[test]
    fn modes_are_judged_as_the_kernel_does() {
        let user = Credentials::new(7, 8, vec![9], ALL);
        let file = libc::S_IFREG;
        for (uid, gid, mode, wanted, expected) in [
            (7, 0, file | 0o400, 4, true),
            (7, 8, file | 0o077, 4, false),
            (1, 9, file | 0o040, 4, true),
            (1, 9, file | 0o404, 4, false),
            (1, 1, file | 0o004, 6, false),
        ] {
            assert_eq!(user.may(uid, gid, mode, wanted), expected, "{uid} {gid} {mode:o} {wanted}");
        }
        assert!(root().may(7, 7, file, 6));
        assert!(!root().may(7, 7, file | 0o600, 1));
        assert!(root().may(7, 7, libc::S_IFDIR, 7));
    }
}
