//! What a RUN that shares its pid namespace may reach of other processes: those of the container, which were there
//! before the executor.
//!
//! The kernel lets a process look into another (`/proc/<pid>/environ`, `mem`, `root`, ptrace) only when it may do all
//! that the other may. So a RUN that lacks one capability of theirs cannot, whatever user it becomes. Source: ptrace(2),
//! "Ptrace access mode checking".

use super::descendants;
use crate::sys::process::{self, CapabilitySet};

/// What Docker gives to a container: its default list, from the documentation of `docker run --cap-add`.
pub(super) const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// What of them a RUN has in a chroot: a root user with CAP_SYS_CHROOT leaves any, and without namespaces the chroot is
/// all that stands around RUN.
pub(super) fn in_chroot() -> CapabilitySet {
    CAPABILITIES - CapabilitySet::SYS_CHROOT
}

/// What RUN can do without, the least missed first. The first is what only sandboxes and init systems use (the bounding
/// set, securebits); ping and tcpdump may want the second, image builders the third; without the last, PAM fails where
/// the kernel audits.
const SPARE: [CapabilitySet; 4] =
    [CapabilitySet::SETPCAP, CapabilitySet::NET_RAW, CapabilitySet::MKNOD, CapabilitySet::AUDIT_WRITE];

/// How far a RUN reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// With these capabilities it reaches nobody.
    Nobody(CapabilitySet),
    /// It reaches this process, and there is no capability that it could do without.
    Process(CapabilitySet, u32),
}

impl Reach {
    /// Takes from `wanted` what keeps RUN from reaching the first process, and those that this one, the executor,
    /// descends from.
    pub(super) fn find(wanted: CapabilitySet) -> Self {
        let own = process::permitted(std::process::id()).unwrap_or_else(CapabilitySet::empty);
        let executor = std::process::id();
        let mut others = descendants::ancestors(executor, &descendants::processes());
        others.extend((executor != 1 && !others.contains(&1)).then_some(1));
        let others = others.into_iter().filter_map(|other| Some((other, process::permitted(other)?)));
        Self::among(wanted, own, &others.collect::<Vec<_>>())
    }

    fn among(wanted: CapabilitySet, own: CapabilitySet, others: &[(u32, CapabilitySet)]) -> Self {
        let run = wanted & own;
        let reached: Vec<_> = others.iter().filter(|(_, theirs)| run.contains(*theirs)).collect();
        let Some((first, _)) = reached.first() else { return Self::Nobody(wanted) };
        // Without CAP_SETPCAP a root user gets back at exec what was taken.
        let is_spare = |spare: &CapabilitySet| reached.iter().all(|(_, theirs)| theirs.contains(*spare));
        let spare = SPARE.into_iter().filter(|_| own.contains(CapabilitySet::SETPCAP)).find(is_spare);
        spare.map_or(Self::Process(wanted, *first), |spare| Self::Nobody(wanted - spare))
    }

    /// Returns the capabilities that RUN is to have.
    pub(super) fn kept(self) -> CapabilitySet {
        match self {
            Self::Nobody(kept) | Self::Process(kept, _) => kept,
        }
    }

    /// Says what RUN can read that is not for it, if there is anything.
    pub(super) fn warning(self) -> Option<String> {
        let Self::Process(_, process) = self else { return None };
        Some(format!(
            "RUN can read the environment and the memory of process {process}: it has the same capabilities, and none \
             that RUN could do without; give the container SETPCAP"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_capability_less_than_all_that_could_be_reached() {
        let docker = CAPABILITIES;
        let least = CapabilitySet::CHOWN | CapabilitySet::SETUID | CapabilitySet::SETPCAP;
        let admin = docker | CapabilitySet::SYS_ADMIN;
        for (own, others, expected) in [
            (docker, vec![], Reach::Nobody(docker)),
            (docker, vec![(1, docker)], Reach::Nobody(docker - CapabilitySet::SETPCAP)),
            (admin, vec![(1, admin)], Reach::Nobody(docker)),
            (docker, vec![(1, docker - CapabilitySet::SETPCAP), (7, docker)], {
                Reach::Nobody(docker - CapabilitySet::NET_RAW)
            }),
            (least, vec![(1, least)], Reach::Nobody(docker - CapabilitySet::SETPCAP)),
            (least - CapabilitySet::SETPCAP, vec![(1, CapabilitySet::CHOWN)], Reach::Process(docker, 1)),
            (docker, vec![(1, docker), (7, CapabilitySet::empty())], Reach::Process(docker, 1)),
        ] {
            assert_eq!(Reach::among(docker, own, &others), expected, "{own:?} {others:?}");
        }
    }
}
