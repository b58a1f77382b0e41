//! What stands in the `/dev` of every RUN, however it comes there.

/// The usual device nodes with their numbers. Source: Linux, admin-guide/devices.txt.
pub(super) const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Links to what the process that looks has open.
pub(super) const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Says why a command could not make a device in a user namespace, where that is what its output tells.
pub(super) fn explain(output: &str) -> Option<String> {
    let is_refused = |line: &str| line.contains("mknod") && line.contains("Operation not permitted");
    output.lines().any(is_refused).then(|| {
        "only root makes devices; in a user namespace files stand for them, which takes Linux 5.19, a disk that tells when a \
         file was made, and no other listener for system calls; without those use --isolation mediated, or container or \
         chroot with the capability MKNOD"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_device_that_run_may_not_make_is_explained() {
        let told = super::explain("mknod: /made: Operation not permitted\n").unwrap();
        assert!(told.contains("Linux 5.19"), "{told}");
        assert!(super::explain("mknod: /made: File exists\n").is_none());
    }
}
