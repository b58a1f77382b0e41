//! Calls about who a process is: ids, groups, capabilities.

use rustix::io::Errno;

use super::kin;
use super::people::{Credentials, LAST_CAPABILITY, SETPCAP};
use super::supervisor::{Answer, Outcome, Supervisor};
use super::task::Call;
use crate::sys::process::Pid;

/// Source: linux/limits.h, NGROUPS_MAX.
const MOST_GROUPS: usize = 65536;
/// `_LINUX_CAPABILITY_VERSION_1`, `_2` and `_3`. Source: linux/capability.h.
const VERSIONS: [u32; 3] = [0x1998_0330, 0x2007_1026, 0x2008_0522];

impl Supervisor {
    /// Answers getuid(2), setuid(2) and their kin.
    pub(super) fn identity(&mut self, call: &Call) -> Outcome {
        let who = &call.who;
        let [a, b, c] = [call.unsigned(0), call.unsigned(1), call.unsigned(2)];
        let value = |id: u32| Ok(Answer::Value(id.into()));
        let new = match call.number {
            libc::SYS_getuid => return value(who.user.real),
            libc::SYS_geteuid => return value(who.user.effective),
            libc::SYS_getgid => return value(who.group.real),
            libc::SYS_getegid => return value(who.group.effective),
            libc::SYS_getresuid => return Self::tell_ids(call, [who.user.real, who.user.effective, who.user.saved]),
            libc::SYS_getresgid => return Self::tell_ids(call, [who.group.real, who.group.effective, who.group.saved]),
            libc::SYS_getgroups => return Self::tell_groups(call),
            libc::SYS_setgroups => who.set_groups(Self::read_groups(call)?)?,
            libc::SYS_setuid => who.set_user(a)?,
            libc::SYS_setgid => who.set_group(a)?,
            libc::SYS_setreuid => who.set_two_users([a, b])?,
            libc::SYS_setregid => who.set_two_groups([a, b])?,
            libc::SYS_setresuid => who.set_users([a, b, c])?,
            libc::SYS_setresgid => who.set_three_groups([a, b, c])?,
            number => return self.set_files(call, number == libc::SYS_setfsgid, a),
        };
        self.become_(call, new)
    }

    pub(super) fn become_(&self, call: &Call, new: Credentials) -> Outcome {
        self.view.people.borrow_mut().with(call.label, new)?.put_on(call.task)?;
        Ok(Answer::Value(0))
    }

    /// setfsuid(2) is of one thread; what is known here is of a process. So it is refused, in the way that this call
    /// refuses, where there is more than one.
    fn set_files(&self, call: &Call, is_group: bool, id: u32) -> Outcome {
        let old = if is_group { call.who.group.files } else { call.who.user.files };
        if kin::threads(call.task.as_raw()) == 1 {
            self.become_(call, call.who.set_files(is_group, id))?;
        }
        Ok(Answer::Value(old.into()))
    }

    fn tell_ids(call: &Call, ids: [u32; 3]) -> Outcome {
        for (index, id) in ids.iter().enumerate() {
            call.write(call.argument(index), &id.to_le_bytes())?;
        }
        Ok(Answer::Value(0))
    }

    fn tell_groups(call: &Call) -> Outcome {
        let (groups, room) = (&call.who.groups, call.int(0));
        let room = usize::try_from(room).map_err(|_| Errno::INVAL)?;
        if room != 0 {
            if groups.len() > room {
                return Err(Errno::INVAL);
            }
            let bytes: Vec<u8> = groups.iter().flat_map(|group| group.to_le_bytes()).collect();
            call.write(call.argument(1), &bytes)?;
        }
        Ok(Answer::Value(groups.len().try_into().unwrap_or_default()))
    }

    fn read_groups(call: &Call) -> Result<Vec<u32>, Errno> {
        let count = usize::try_from(call.unsigned(0)).unwrap_or(usize::MAX);
        if count > MOST_GROUPS {
            return Err(Errno::INVAL);
        }
        let bytes = call.read(call.argument(1), count * 4)?;
        let mut groups: Vec<u32> =
            bytes.chunks_exact(4).map(|group| u32::from_le_bytes(group.try_into().unwrap_or_default())).collect();
        groups.sort_unstable();
        Ok(groups)
    }

    /// capget(2)
    pub(super) fn tell_capabilities(&self, call: &Call) -> Outcome {
        let (version, process) = (call.read_u32(call.argument(0))?, call.read_u32(call.argument(0) + 4)?);
        if !VERSIONS.contains(&version) {
            call.write(call.argument(0), &VERSIONS[2].to_le_bytes())?;
            return if call.argument(1) == 0 { Ok(Answer::Value(0)) } else { Err(Errno::INVAL) };
        }
        let who = match process.cast_signed() {
            0 => std::rc::Rc::clone(&call.who),
            other if kin::is_own(other) => {
                let people = self.view.people.borrow();
                people.who(people.label(Pid::from_raw(other))?)
            }
            _ => return Err(Errno::SRCH),
        };
        let sets = [who.capabilities.effective, who.capabilities.permitted, who.capabilities.inheritable];
        let halves = |shift: u32| sets.map(|set| u32::try_from(set >> shift & 0xffff_ffff).unwrap_or_default());
        let words = if version == VERSIONS[0] { halves(0).to_vec() } else { [halves(0), halves(32)].concat() };
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        call.write(call.argument(1), &bytes)?;
        Ok(Answer::Value(0))
    }

    /// capset(2)
    pub(super) fn set_capabilities(&self, call: &Call) -> Outcome {
        let (version, process) = (call.read_u32(call.argument(0))?, call.read_u32(call.argument(0) + 4)?);
        if !VERSIONS.contains(&version) {
            call.write(call.argument(0), &VERSIONS[2].to_le_bytes())?;
            return Err(Errno::INVAL);
        }
        let process = process.cast_signed();
        if process != 0 && process != call.task.as_raw() && process != kin::process_of(call.task.as_raw()) {
            return Err(Errno::PERM);
        }
        let count = if version == VERSIONS[0] { 3 } else { 6 };
        let bytes = call.read(call.argument(1), count * 4)?;
        let set = |index: usize| -> u64 {
            let word = |index: usize| {
                let word = bytes.get(index * 4..index * 4 + 4).and_then(|word| word.try_into().ok());
                u64::from(u32::from_le_bytes(word.unwrap_or_default()))
            };
            word(index) | word(index + 3) << 32
        };
        let all = (1 << (LAST_CAPABILITY + 1)) - 1;
        let new = call.who.set_capabilities(set(0) & all, set(1) & all, set(2) & all)?;
        self.become_(call, new)
    }

    /// prctl(2), as far as it is about rights.
    pub(super) fn rights(&mut self, call: &Call) -> Outcome {
        let argument = call.argument(1);
        let capability = u32::try_from(argument).unwrap_or(u32::MAX);
        let known = || if capability <= LAST_CAPABILITY { Ok(()) } else { Err(Errno::INVAL) };
        let who = &call.who;
        match call.int(0) {
            libc::PR_SET_DUMPABLE => match argument {
                // The supervisor would lose sight of it; nobody else can look at it anyhow.
                0 | 1 => Ok(Answer::Value(0)),
                _ => Err(Errno::INVAL),
            },
            libc::PR_GET_DUMPABLE => Ok(Answer::Value(1)),
            libc::PR_CAPBSET_READ => {
                known()?;
                Ok(Answer::Value(i64::from(who.capabilities.bounding >> capability & 1 != 0)))
            }
            libc::PR_CAPBSET_DROP => {
                known()?;
                if !who.can(SETPCAP) {
                    return Err(Errno::PERM);
                }
                let mut new = (**who).clone();
                new.capabilities.bounding &= !(1 << capability);
                self.become_(call, new)
            }
            libc::PR_SET_KEEPCAPS if argument > 1 => Err(Errno::INVAL),
            libc::PR_SET_KEEPCAPS => self.become_(call, Credentials { keeps: argument == 1, ..(**who).clone() }),
            libc::PR_GET_KEEPCAPS => Ok(Answer::Value(who.keeps.into())),
            libc::PR_GET_SECUREBITS => Ok(Answer::Value(0)),
            libc::PR_SET_SECUREBITS if argument == 0 => Ok(Answer::Value(0)),
            libc::PR_SET_SECUREBITS => Err(Errno::PERM),
            libc::PR_CAP_AMBIENT => self.ambient(call),
            _ => self.tell_loader(call),
        }
    }

    fn ambient(&self, call: &Call) -> Outcome {
        let capability = call.argument(2);
        let bit = if capability <= LAST_CAPABILITY.into() { 1_u64 << capability } else { 0 };
        let mut new = (*call.who).clone();
        let sets = &mut new.capabilities;
        let question = i32::try_from(call.argument(1)).unwrap_or_default();
        if question != libc::PR_CAP_AMBIENT_CLEAR_ALL && bit == 0 {
            return Err(Errno::INVAL);
        }
        match question {
            libc::PR_CAP_AMBIENT_IS_SET => return Ok(Answer::Value(i64::from(sets.ambient & bit != 0))),
            libc::PR_CAP_AMBIENT_RAISE if sets.permitted & sets.inheritable & bit == 0 => return Err(Errno::PERM),
            libc::PR_CAP_AMBIENT_RAISE => sets.ambient |= bit,
            libc::PR_CAP_AMBIENT_LOWER => sets.ambient &= !bit,
            libc::PR_CAP_AMBIENT_CLEAR_ALL => sets.ambient = 0,
            _ => return Err(Errno::INVAL),
        }
        self.become_(call, new)
    }

    /// umask(2): kept for the files that the supervisor makes.
    pub(super) fn umask(&self, call: &Call) -> Outcome {
        let mut label = call.label;
        label.umask = call.unsigned(0) & 0o777;
        label.put_on(call.task)?;
        Ok(Answer::Value(call.label.umask.into()))
    }
}
