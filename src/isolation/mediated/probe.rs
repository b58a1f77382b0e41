//! Whether this pod lets a process answer the calls of its children: tried, before a build relies on it.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use rustix::fs::StatVfsMountFlags;

use crate::isolation::preference::version;
use crate::sys::process::Pid;
use crate::sys::{landlock, tracee};

/// Source: linux/mm: what may be mapped at the least, where nothing else is said.
const LEAST_ADDRESS: u64 = 0x1_0000;

/// What the pod allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::isolation) struct Allowed {
    /// Where tasks have the supervisor's page.
    pub(in crate::isolation) page: u64,
    /// Landlock's version; zero for none.
    pub(in crate::isolation) landlock: u32,
}

fn setting(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Tells what the pod allows to a build below `state`, or what is missing and which setting would allow it.
pub(in crate::isolation) fn probe(state: &Path) -> Result<Allowed, String> {
    let there = state.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    let found = rustix::fs::statvfs(there).map_err(|errno| format!("{}: {errno}", there.display()))?;
    if found.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err(format!("{} is mounted noexec: --state-dir on a volume that is not", there.display()));
    }
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    if version(&release) < (5, 19) {
        return Err(format!(
            "the kernel is {release}, and 5.19 is the first whose notified calls no signal interrupts"
        ));
    }
    if let Some(scope) = setting("/proc/sys/kernel/yama/ptrace_scope").filter(|scope| *scope >= 2) {
        return Err(format!(
            "kernel.yama.ptrace_scope is {scope} on this node, and 0 or 1 allows to trace one's children"
        ));
    }
    if let Some(level @ 2..) = setting("/proc/sys/vm/memfd_noexec") {
        return Err(format!("vm.memfd_noexec is {level} in this pod, and 0 or 1 allows to execute the loader"));
    }
    let page = setting("/proc/sys/vm/mmap_min_addr").unwrap_or(LEAST_ADDRESS).next_multiple_of(LEAST_ADDRESS);
    if page > 0x1000_0000 {
        return Err(format!("vm.mmap_min_addr is {page} on this node, and programs are linked to addresses below"));
    }
    if let Some((call, errno)) = refused() {
        return Err(format!("this pod's seccomp profile refuses {call} ({errno})"));
    }
    Ok(Allowed { page: page.max(LEAST_ADDRESS), landlock: landlock::version() })
}

/// Finds a call of the supervisor's that the pod refuses, by making it with nothing to do.
fn refused() -> Option<(&'static str, Errno)> {
    let (own, nobody) = (Pid::this(), Pid::from_raw(0));
    let tried = [
        ("ptrace", tracee::seize(nobody).err().filter(|errno| *errno != Errno::ESRCH)),
        ("process_vm_readv", tracee::read(own, 0, &mut []).err()),
        ("process_vm_writev", tracee::write(own, 0, &[]).err()),
    ];
    tried.into_iter().find_map(|(call, errno)| Some((call, errno?)))
}
