//! Namespaces of the calling process.

use nix::errno::Errno;
pub use nix::sched::CloneFlags as Namespaces;

use super::Error;

/// Moves the caller into new namespaces (`CLONE_NEWPID`: its children).
///
/// `CLONE_NEWUSER` gives `EINVAL` in a process with more than one thread.
pub fn unshare(namespaces: Namespaces) -> Result<(), Error> {
    nix::sched::unshare(namespaces).map_err(|errno| Error::new(format!("unshare({})", names(namespaces)), errno))
}

/// Brings the loopback device of the caller's network namespace up; a new namespace has it down.
pub fn loopback_up() -> Result<(), Error> {
    let failed = |call: &str, errno: Errno| Error::new(format!("{call} of loopback device lo"), errno);
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)
        .map_err(|errno| failed("socket(AF_INET)", Errno::from_raw(errno.raw_os_error())))?;
    // SAFETY: all-zero bytes are a valid `ifreq`, a struct of plain integers and arrays.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING)
        .expect("both flags are below 2¹⁵ in the kernel's interface");
    // SAFETY: SIOCSIFFLAGS reads one `ifreq` from the pointer, which is to a live one.
    let result =
        unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&socket), libc::SIOCSIFFLAGS, &raw const request) };
    Errno::result(result).map(drop).map_err(|errno| failed("ioctl(SIOCSIFFLAGS, IFF_UP)", errno))
}

fn names(namespaces: Namespaces) -> String {
    namespaces.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_manual() {
        assert_eq!(names(Namespaces::CLONE_NEWNS | Namespaces::CLONE_NEWPID), "CLONE_NEWNS|CLONE_NEWPID");
    }
}
