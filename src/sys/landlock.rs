//! Landlock: what a process forbids itself and all that it starts, without any right. Source: landlock(7).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::Error;

/// Source: linux/landlock.h.
#[repr(C)]
struct RulesetAttributes {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// Source: linux/landlock.h; packed there.
#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: i32,
}

const CREATE_RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;
/// `LANDLOCK_ACCESS_FS_MAKE_SOCK`.
const MAKE_SOCK: u64 = 1 << 9;
/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL`, of ABI 6.
const SCOPES: u64 = 3;

/// Returns which version of Landlock the kernel has; zero where it has none, or it is switched off or forbidden.
pub fn version() -> u32 {
    // SAFETY: a null pointer of size zero with this flag only asks for the version.
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<RulesetAttributes>(),
            0_usize,
            CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(result).unwrap_or_default()
}

/// All rights to files that a version knows. Source: landlock(7).
fn rights(version: u32) -> u64 {
    let count = match version {
        1 => 13,
        2 => 14,
        3 | 4 => 15,
        _ => 16,
    };
    (1 << count) - 1
}

/// Forbids this thread and all that it starts every way to a file by its path, but to make sockets in `sockets`; where
/// the version has it, also abstract sockets and signals of others. The process must have forbidden itself new
/// privileges. Returns false where the kernel has no Landlock.
///
/// Descriptors that others have opened and given stay usable.
pub fn seal(sockets: BorrowedFd<'_>) -> Result<bool, Error> {
    let version = version();
    if version == 0 {
        return Ok(false);
    }
    let attributes = RulesetAttributes {
        handled_access_fs: rights(version),
        handled_access_net: 0,
        scoped: if version >= 6 { SCOPES } else { 0 },
    };
    // Older versions take the structure as it was then.
    let size = match version {
        0..4 => 8,
        4..6 => 16,
        _ => size_of::<RulesetAttributes>(),
    };
    // SAFETY: the kernel reads `size` bytes of the structure that the pointer leads to.
    let ruleset = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attributes, size, 0_u32) };
    let ruleset = Errno::result(ruleset).map_err(|errno| Error::new("landlock_create_ruleset()", errno))?;
    let ruleset = RawFd::try_from(ruleset).map_err(|_| Error::new("landlock_create_ruleset()", Errno::EBADF))?;
    // SAFETY: the call has just made this descriptor, and nobody else knows it.
    let ruleset = unsafe { OwnedFd::from_raw_fd(ruleset) };
    let rule = PathBeneath { allowed_access: MAKE_SOCK, parent_fd: sockets.as_raw_fd() };
    // SAFETY: the kernel reads one such structure from where the pointer leads.
    let added = unsafe {
        libc::syscall(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), RULE_PATH_BENEATH, &raw const rule, 0_u32)
    };
    Errno::result(added).map_err(|errno| Error::new("landlock_add_rule(sockets)", errno))?;
    // SAFETY: the call takes two integers and touches no memory.
    let restricted = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32) };
    Errno::result(restricted).map_err(|errno| Error::new("landlock_restrict_self()", errno))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_sealed_thread_makes_sockets_in_one_place_and_opens_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        fs::create_dir(path.join("sockets")).unwrap();
        fs::write(path.join("file"), "x").unwrap();
        // In a thread that ends: what is forbidden is forbidden for good.
        let sealed = std::thread::spawn(move || {
            super::super::process::forbid_new_privileges().unwrap();
            let sockets = fs::File::open(path.join("sockets")).unwrap();
            if !seal(sockets.as_fd()).unwrap() {
                return None;
            }
            let outside = UnixListener::bind(path.join("s")).is_err();
            let inside = UnixListener::bind(path.join("sockets/s")).is_ok();
            Some((fs::read(path.join("file")).is_err(), outside, inside))
        });
        match sealed.join().unwrap() {
            Some(found) => assert_eq!(found, (true, true, true)),
            None => assert_eq!(version(), 0),
        }
    }
}
