//! What can go wrong around a root file system and the process in it.

use std::io;
use std::path::PathBuf;

use crate::sys;

/// Why an isolation could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system does not give the rights that this isolation needs.
    #[error("{wanted} isolation is not possible here: {reason}; {remedy}")]
    Refused {
        /// The isolation that was asked for.
        wanted: &'static str,
        /// Which right is missing and what the kernel said.
        reason: String,
        /// What gives the right, as text for the pod's YAML.
        remedy: String,
    },
    /// `container` isolation was asked for outside a container.
    #[error(
        "container isolation would empty `/`, and this does not look like a container ({looked_at}); use --isolation namespace, or --force if it is one"
    )]
    NotAContainer {
        /// Which markers were looked for.
        looked_at: String,
    },
    /// A system call of the executor's own failed.
    #[error("{doing} failed")]
    System {
        /// What was being done and to what.
        doing: String,
        /// The call.
        #[source]
        source: sys::Error,
    },
    /// A file operation below the state directory or in a root file system failed.
    #[error("{doing} {} failed", .path.display())]
    Files {
        /// What was being done.
        doing: &'static str,
        /// To which path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// `init` could not prepare the process; the text names the call and its arguments.
    #[error("cannot prepare the process: {text}")]
    Init {
        /// What `init` said.
        text: String,
    },
    /// `init` ended without saying what became of the process.
    #[error("init ended without an answer ({text})")]
    InitLost {
        /// What is known of its end.
        text: String,
    },
    /// `init` was killed, and RUN with it.
    #[error(
        "RUN was ended, because the process that watches over it was killed by signal {signal}: RUN itself sent it \
         (`kill -1`), or the container had no memory left"
    )]
    InitKilled {
        /// The signal.
        signal: i32,
    },
    /// RUN has left processes that cannot be ended.
    #[error("RUN has left processes that cannot be ended: {text}")]
    Left {
        /// Which, and why.
        text: String,
    },
    /// The working directory is not there.
    #[error("working directory {} does not exist in the root file system", .path.display())]
    WorkingDirectory {
        /// The directory, inside the root file system.
        path: PathBuf,
    },
    /// A file is no SSH key that can be used.
    #[error("the SSH key {} cannot be used: {reason}", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
    /// The isolation in use cannot do this; another one can.
    #[error("{what} is not possible in {isolation} isolation; use --isolation {able}")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
        /// The isolation in use.
        isolation: &'static str,
        /// The isolation that can.
        able: &'static str,
    },
    /// The image has something where a mount's target would be.
    #[error("a mount at {} is not possible: {reason} in the image", .target.display())]
    Target {
        /// The mount's target.
        target: PathBuf,
        /// What is in the way.
        reason: &'static str,
    },
    /// Something of the container's is where a mount would be.
    #[error("a mount at {} is not possible in container isolation: the container has {} there", .target.display(), .obstacle.display())]
    Obstructed {
        /// The mount's target.
        target: PathBuf,
        /// What the container has.
        obstacle: PathBuf,
    },
    /// A process has renamed what stands for a mount, and what would have stayed where it is.
    #[error("RUN has moved {}, which is a mount, to {}: copy what is in it", .target.display(), .to.display())]
    Moved {
        /// The mount.
        target: PathBuf,
        /// Where it was found.
        to: PathBuf,
    },
    /// A process has given a further name to a file that stands for a mount, and that no other directory could have.
    #[error("RUN has made a hard link to {}, which is a mount: copy it", .target.display())]
    Linked {
        /// The mount.
        target: PathBuf,
    },
    /// A process has written to what a pod mounts, where no layer can have it from.
    #[error("RUN has changed {}{}, in the volume that is mounted at {}: no image can hold that", .path.display(), elsewhere(*.more), .volume.display())]
    Written {
        /// What it has changed.
        path: PathBuf,
        /// In how many other directories it has changed something.
        more: usize,
        /// The mount.
        volume: PathBuf,
    },
    /// A previous build in this container was killed, and what it had set aside cannot be put back.
    #[error("cannot put back what stood in `/` before an earlier build: {text} (it is kept below {})", .aside.display())]
    PutBack {
        /// The first thing that went wrong.
        text: String,
        /// Where the files are.
        aside: PathBuf,
    },
    /// RUN has put something in the place of the executor's program; it is restored.
    #[error("RUN has changed the executor's own program, {} (what was there before is there again)", .path.display())]
    ProgramChanged {
        /// The program.
        path: PathBuf,
    },
    /// RUN has changed what was set aside from `/`.
    #[error(
        "RUN has changed files of this container that were not the image's, and they are not to be trusted any more: {}",
        shown(.paths)
    )]
    AsideChanged {
        /// Which, as they are named in the container.
        paths: Vec<PathBuf>,
    },
    /// A second root file system was asked for where `/` is the only one.
    #[error("container isolation holds one root file system at a time, and it is in use")]
    Occupied,
    /// A root file system was asked for again after the first refusal.
    #[error("no isolation is possible here, as was said before")]
    NeverOpened,
    /// The root file system's directory cannot be opened.
    #[error(transparent)]
    Rootfs(#[from] crate::rootfs::Error),
    /// The build was cancelled while the process ran.
    #[error("interrupted")]
    Interrupted,
}

fn elsewhere(more: usize) -> String {
    match more {
        0 => String::new(),
        1 => " and something in another directory".to_owned(),
        more => format!(" and something in {more} other directories"),
    }
}

/// Names the first few.
fn shown(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().take(5).map(|path| path.display().to_string()).collect();
    let more = paths.len().saturating_sub(names.len());
    names.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}
