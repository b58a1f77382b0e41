//! Resource limits of a process.

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::request::{LimitedResource, ResourceLimit};
use crate::sys;

/// Sets the limits of this process, which it hands on to what it executes.
///
/// A hard limit can be raised only with CAP_SYS_RESOURCE in the machine's own user namespace.
pub(super) fn apply(limits: &[ResourceLimit]) -> Result<(), sys::Error> {
    for limit in limits {
        let wanted = Rlimit { current: limit.soft, maximum: limit.hard };
        setrlimit(resource(limit.resource), wanted).map_err(|errno| {
            let text = |value: Option<u64>| value.map_or("unlimited".to_owned(), |value| value.to_string());
            let (soft, hard) = (text(limit.soft), text(limit.hard));
            sys::Error::from_io(format!("setrlimit({:?}, {soft}, {hard})", limit.resource), &errno.into())
        })?;
    }
    Ok(())
}

/// Sees to it that this process and what it starts leave no memory behind in a file when they crash.
#[cfg(target_arch = "x86_64")]
pub(super) fn no_cores() -> Result<(), sys::Error> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(|errno| sys::Error::from_io("setrlimit(Core, 0, 0)", &errno.into()))
}

fn resource(resource: LimitedResource) -> Resource {
    match resource {
        LimitedResource::As => Resource::As,
        LimitedResource::Core => Resource::Core,
        LimitedResource::Cpu => Resource::Cpu,
        LimitedResource::Data => Resource::Data,
        LimitedResource::Fsize => Resource::Fsize,
        LimitedResource::Locks => Resource::Locks,
        LimitedResource::Memlock => Resource::Memlock,
        LimitedResource::Msgqueue => Resource::Msgqueue,
        LimitedResource::Nice => Resource::Nice,
        LimitedResource::Nofile => Resource::Nofile,
        LimitedResource::Nproc => Resource::Nproc,
        LimitedResource::Rss => Resource::Rss,
        LimitedResource::Rtprio => Resource::Rtprio,
        LimitedResource::Rttime => Resource::Rttime,
        LimitedResource::Sigpending => Resource::Sigpending,
        LimitedResource::Stack => Resource::Stack,
    }
}
