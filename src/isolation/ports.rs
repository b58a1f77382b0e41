//! Ports below 1024 and ping in `namespace`, where RUN is root of a user namespace that the pod's network is not of.
//!
//! Two settings of a network say who needs a right for them. In a network of RUN's own (`--network=none`) nobody does, as
//! in Docker's containers; that of the pod, or of the machine, can only be read here.

use std::fs;

/// The first port that everybody may listen at.
const PORTS: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
/// The groups that may ping without a raw socket; as kernels have it, the first and the last.
const PINGS: &str = "/proc/sys/net/ipv4/ping_group_range";
/// All groups: of the user namespace, which may have fewer than Docker's containers, or one.
const ALL_GROUPS: [&str; 3] = ["0 2147483647", "0 65535", "0 0"];

/// Opens both to everybody in the caller's network, which must be its own and new. Where `/proc/sys` is read-only they stay
/// as they are, which only RUNs notice that use them.
pub(super) fn open_all() {
    let _read_only = fs::write(PORTS, "0");
    let _any = ALL_GROUPS.iter().any(|groups| fs::write(PINGS, groups).is_ok());
}

/// Says what a RUN lacked whose output ends like that, if it was one of them.
pub(super) fn explain(output: &str) -> Option<String> {
    let first = fs::read_to_string(PORTS).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024_u32);
    let (what, setting, value) = lacked(output, first)?;
    Some(format!(
        "RUN has the network of the executor, and there {what} needs a right that no user namespace gives; let the pod give it \
         to everybody, with securityContext: {{sysctls: [{{name: {setting}, value: \"{value}\"}}]}}, or use RUN --network=none, \
         whose own network does, or container isolation"
    ))
}

fn lacked(output: &str, first: u32) -> Option<(String, &'static str, &'static str)> {
    output.lines().find_map(|line| {
        let lower = line.to_lowercase();
        if first > 0 && lower.contains("bind") && lower.contains("permission denied") {
            let what = format!("listening at a port below {first}");
            return Some((what, "net.ipv4.ip_unprivileged_port_start", "0"));
        }
        let is_refused = lower.contains("operation not permitted") || lower.contains("permission denied");
        let is_ping = lower.starts_with("ping:") && is_refused;
        is_ping.then(|| ("ping".to_owned(), "net.ipv4.ping_group_range", ALL_GROUPS[0]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_ping_say_what_they_lack() {
        for (line, first, expected) in [
            ("nginx: [emerg] bind() to 0.0.0.0:80 failed (13: Permission denied)", 1024, Some("below 1024")),
            ("(13)Permission denied: AH00072: make_sock: could not bind to address [::]:80", 80, Some("below 80")),
            ("httpd: bind: Permission denied", 1024, Some("below 1024")),
            ("httpd: bind: Permission denied", 0, None),
            ("httpd: bind: Address already in use", 1024, None),
            ("ping: socktype: SOCK_RAW\nping: socket: Operation not permitted", 0, Some("ping")),
            ("ping: permission denied (are you root?)", 1024, Some("ping")),
            ("mkdir: cannot create directory: Permission denied", 1024, None),
        ] {
            let found = lacked(line, first).map(|(what, ..)| what);
            assert_eq!(found.is_some(), expected.is_some(), "{line}");
            assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()), "{line}");
        }
    }
}
