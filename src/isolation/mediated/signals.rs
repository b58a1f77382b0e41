//! Calls that reach other processes: RUN's own are reached, others do not exist for it.

use nix::sys::signal::Signal;
use rustix::io::Errno;

use super::kin;
use super::people::{Credentials, Label};
use super::supervisor::{Answer, Outcome, Supervisor};
use super::task::Call;
use crate::sys::process::Pid;

/// CAP_KILL
const KILL: u32 = 5;

impl Supervisor {
    /// kill(2), tkill(2), tgkill(2) and those that send more than a number.
    pub(super) fn signal(&self, call: &Call) -> Outcome {
        let target = call.int(0);
        match call.number {
            libc::SYS_kill if target <= 0 => self.signal_many(call, target),
            libc::SYS_tkill | libc::SYS_tgkill | libc::SYS_rt_tgsigqueueinfo if target <= 0 => Err(Errno::INVAL),
            _ => {
                self.check_signal(call, target)?;
                // What is sent is in registers, or says of itself only what the kernel lets it say.
                Ok(Answer::Proceed)
            }
        }
    }

    fn check_signal(&self, call: &Call, target: i32) -> Result<(), Errno> {
        if !kin::is_own(target) {
            return Err(Errno::SRCH);
        }
        if may_signal(&call.who, &self.credentials(target)) { Ok(()) } else { Err(Errno::PERM) }
    }

    fn credentials(&self, process: i32) -> std::rc::Rc<Credentials> {
        let people = self.view.people.borrow();
        people.who(people.label(Pid::from_raw(process)).unwrap_or(Label::FIRST))
    }

    /// Sends to a process group, or to all that there are.
    fn signal_many(&self, call: &Call, target: i32) -> Outcome {
        let number = call.int(1);
        let signal = if number == 0 { None } else { Some(Signal::try_from(number).map_err(|_| Errno::INVAL)?) };
        let group = |process: i32| kin::fields(process).and_then(|fields| i32::try_from(*fields.get(1)?).ok());
        let own = kin::process_of(call.task.as_raw());
        let wanted = if target == 0 { group(own) } else { Some(-target) };
        let mut result = Err(Errno::SRCH);
        for process in kin::all() {
            let meant = if target == -1 { process != own } else { group(process) == wanted };
            if !meant {
                continue;
            }
            if !may_signal(&call.who, &self.credentials(process)) {
                result = result.or(Err(Errno::PERM));
                continue;
            }
            let _gone_meanwhile = nix::sys::signal::kill(Pid::from_raw(process), signal);
            result = Ok(Answer::Value(0));
        }
        result
    }

    /// Calls whose first argument is a process, and that the kernel may carry out for RUN's own.
    pub(super) fn about_process(process: i32) -> Outcome {
        if process != 0 && !kin::is_own(process) {
            return Err(Errno::SRCH);
        }
        Ok(Answer::Proceed)
    }

    /// setpriority(2), ioprio_set(2): of a process by its number, else of the caller alone.
    pub(super) fn set_priority(&self, call: &Call) -> Outcome {
        // PRIO_PROCESS is 0, IOPRIO_WHO_PROCESS 1.
        let of_process = i32::from(call.number == libc::SYS_ioprio_set);
        if call.int(0) != of_process {
            return Err(Errno::PERM);
        }
        Self::about_process(call.int(1))
    }

    /// prlimit(2) of another process, or of locks: that limit holds who a process is, and is never told nor changed.
    pub(super) fn limits(&self, call: &Call) -> Outcome {
        if call.unsigned(1) == libc::RLIMIT_LOCKS {
            let old = call.argument(3);
            if old != 0 {
                call.write(old, &[0xff; 16])?;
            }
            return Ok(Answer::Value(0));
        }
        if call.int(0) != kin::process_of(call.task.as_raw()) && call.argument(2) != 0 {
            return Err(Errno::PERM);
        }
        Self::about_process(call.int(0))
    }
}

/// Source: kill(2).
fn may_signal(who: &Credentials, target: &Credentials) -> bool {
    let reaches = |id: u32| id == target.user.real || id == target.user.saved;
    who.can(KILL) || reaches(who.user.effective) || reaches(who.user.real)
}
