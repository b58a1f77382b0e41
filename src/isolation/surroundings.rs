//! What stands around a RUN in `namespace` isolation: `/proc`, `/sys`, `/dev`, other mounts, the host name,
//! and then the root.
//!
//! Runs in `init`, alone in its namespaces. What is hidden is what the OCI runtimes hide by default.
//! *Invariant: after [`make`] nothing of the executor's root can be reached by a path.*

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

use super::nodes::{DEVICES, LINKS};
use super::protocol::{Planned, What};
use super::{Process, stubs};
use crate::sys::{Error, mount};

/// Parts of `/proc` and `/sys` that tell of the machine, or act on it; empty for RUN.
const MASKED: [&str; 11] = [
    "proc/acpi",
    "proc/asound",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/sched_debug",
    "proc/scsi",
    "proc/timer_list",
    "proc/timer_stats",
    "sys/devices/virtual/powercap",
    "sys/firmware",
];

/// Parts of `/proc` through which root could change the machine.
const READ_ONLY: [&str; 5] = ["proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"];

/// The usual size of `/dev/shm`: 64 MiB.
const SHARED_MEMORY: u64 = 64 << 20;

/// Mounts what is planned, hides what is not for RUN, sets the host name and makes `root` the root.
pub(super) fn make(root: &Path, mounts: &[Planned], memory: &Path, process: &Process) -> Result<(), Error> {
    mount::make_all_private()?;
    // pivot_root wants a mount point, and the mounts below must not appear in the executor's view.
    mount::bind(root, root, true)?;
    // Without a user namespace RUN may make devices: as files of the image, not to use them.
    mount::forbid_devices(root)?;
    if mounts.iter().any(|planned| matches!(planned.what, What::File { .. })) {
        // No swap file shall have them either; older kernels, and user namespaces, do not know how.
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount::filesystem("tmpfs", memory, flags, "mode=700,noswap")
            .or_else(|_| mount::filesystem("tmpfs", memory, flags, "mode=700"))?;
    }
    for (number, planned) in mounts.iter().enumerate() {
        let target = arrive(root, planned)?;
        place(&target, &planned.what, &memory.join(number.to_string()))?;
    }
    if let Some(name) = &process.hostname {
        // Some seccomp profiles refuse it to all without CAP_SYS_ADMIN around; RUN then sees the pod's name.
        let _works_without = rustix::system::sethostname(name.as_bytes());
    }
    mount::pivot(root)
}

/// Returns the target as it is now that what comes before is mounted: a mount may be below another, whose links
/// count then. What is not there yet is made.
fn arrive(root: &Path, planned: &Planned) -> Result<PathBuf, Error> {
    let inside = planned.target.strip_prefix(root).unwrap_or(&planned.target);
    let failed = |call: &'static str| {
        let path = planned.target.display().to_string();
        move |error: std::io::Error| Error::from_io(format!("{call}({path})"), &error)
    };
    let target = stubs::resolve(root, inside).map_err(failed("readlink"))?;
    if fs::symlink_metadata(&target).is_ok() {
        return Ok(target);
    }
    let is_directory = match &planned.what {
        What::Bind { source, .. } => source.is_dir(),
        What::File { .. } => false,
        What::Proc | What::Sys | What::Dev { .. } | What::Tmpfs { .. } => true,
    };
    let directory = if is_directory { Some(target.as_path()) } else { target.parent() };
    if let Some(directory) = directory {
        fs::create_dir_all(directory).map_err(failed("mkdir"))?;
    }
    if !is_directory {
        fs::write(&target, "").map_err(failed("open"))?;
    }
    Ok(target)
}

/// Mounts one thing; `spare` is a path that is free for what is kept in memory.
fn place(target: &Path, what: &What, spare: &Path) -> Result<(), Error> {
    let hardened = MountFlags::NOSUID | MountFlags::NODEV;
    match what {
        What::Proc => place_proc(target),
        What::Sys => place_sys(target),
        What::Dev { shared_memory } => place_devices(target, *shared_memory),
        What::Bind { source, read_only } => {
            mount::bind(source, target, true)?;
            mount::forbid_devices(target)?;
            if *read_only {
                mount::make_tree_read_only(target).or_else(|_| mount::make_read_only(target))
            } else {
                Ok(())
            }
        }
        What::Tmpfs { size } => {
            let size = size.map(|size| format!(",size={size}")).unwrap_or_default();
            mount::filesystem("tmpfs", target, hardened, &format!("mode=1777{size}"))
        }
        What::File { content, access } => {
            stubs::write(spare, &content.0, *access)
                .map_err(|error| Error::from_io(format!("write(file for {})", target.display()), &error))?;
            mount::bind(spare, target, false)?;
            mount::make_read_only(target)
        }
    }
}

fn place_proc(target: &Path) -> Result<(), Error> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    if mount::filesystem("proc", target, flags, "").is_err() {
        // The kernel refuses a fresh one to a user namespace where parts of the only visible one are covered,
        // as container runtimes do. Numbers in it are then those of the container's processes; none of their
        // secrets can be read, since they belong to another user namespace or forbid inspection, and the
        // arguments of those that run now are hidden too. Their covers go with them.
        mount::bind(Path::new("/proc"), target, true)?;
        for entry in fs::read_dir(target).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
                let _ended_meanwhile = cover_directory(&entry.path());
            }
        }
    }
    hide_below(target, "proc")?;
    for path in READ_ONLY.iter().filter_map(|path| path.strip_prefix("proc/")) {
        let path = target.join(path);
        if path.exists() {
            mount::bind(&path, &path, true)?;
            mount::make_read_only(&path)?;
        }
    }
    Ok(())
}

fn place_sys(target: &Path) -> Result<(), Error> {
    let shown = mount::bind(Path::new("/sys"), target, true).and_then(|()| {
        mount::make_tree_read_only(target).inspect_err(|_| {
            let _an_empty_one_covers_it = rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH);
        })
    });
    match shown {
        Ok(()) => hide_below(target, "sys"),
        Err(_) => cover_directory(target),
    }
}

/// Hides the masked parts of one file system.
fn hide_below(target: &Path, name: &str) -> Result<(), Error> {
    for path in MASKED.iter().filter_map(|path| path.strip_prefix(name)?.strip_prefix('/')) {
        let path = target.join(path);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => cover_directory(&path)?,
            Ok(_) => mount::bind(Path::new("/dev/null"), &path, false)?,
            Err(_) => {}
        }
    }
    Ok(())
}

fn cover_directory(path: &Path) -> Result<(), Error> {
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount::filesystem("tmpfs", path, flags, "mode=755,size=0")
}

fn place_devices(target: &Path, shared_memory: Option<u64>) -> Result<(), Error> {
    let hardened = MountFlags::NOSUID | MountFlags::NOEXEC;
    // Its nodes are mounts of their own.
    mount::filesystem("tmpfs", target, MountFlags::NOSUID | MountFlags::NODEV, "mode=755,size=64m")?;
    // Taken from the executor's own: a user namespace may not make any.
    for (name, ..) in DEVICES {
        let own = Path::new("/dev").join(name);
        if own.exists() {
            let node = target.join(name);
            let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o666).open(&node);
            made.map_err(|error| Error::from_io(format!("open({}, O_CREAT)", node.display()), &error))?;
            mount::bind(&own, &node, false)?;
        }
    }
    for (name, to) in LINKS.into_iter().chain([("ptmx", "pts/ptmx")]) {
        symlink(to, target.join(name)).map_err(|error| Error::from_io(format!("symlink({to}, {name})"), &error))?;
    }
    let directory = |name: &str| -> Result<PathBuf, Error> {
        let path = target.join(name);
        fs::create_dir(&path).map_err(|error| Error::from_io(format!("mkdir({})", path.display()), &error))?;
        Ok(path)
    };
    let terminals = directory("pts")?;
    let options = "newinstance,ptmxmode=0666,mode=0620";
    // Group 5 is `tty` in every distribution; in a namespace with one id it does not exist. Without any
    // terminals a RUN still works, but for the few programs that make some.
    let _works_without = mount::filesystem("devpts", &terminals, hardened, &format!("{options},gid=5"))
        .or_else(|_| mount::filesystem("devpts", &terminals, hardened, options));
    let size = shared_memory.unwrap_or(SHARED_MEMORY);
    mount::filesystem("tmpfs", &directory("shm")?, hardened | MountFlags::NODEV, &format!("mode=1777,size={size}"))?;
    let queues = directory("mqueue")?;
    // A kernel without POSIX message queues refuses; then the directory stays empty.
    let _works_without = mount::filesystem("mqueue", &queues, hardened | MountFlags::NODEV, "");
    Ok(())
}
