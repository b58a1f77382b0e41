//! `EXPOSE`: ports and ranges of ports, as BuildKit reads them.

/// Reads `[[ip:]host:]container[/protocol]`, where each port may be a range, into `port/protocol` texts.
///
/// # Errors
/// A message that names the word and what is wrong with it.
pub(super) fn parse(word: &str) -> Result<Vec<String>, String> {
    let container = word.rsplit(':').next().unwrap_or(word);
    let (ports, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol.to_lowercase() };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("`{word}` is no port to expose: the protocol is `{protocol}`, not tcp, udp or sctp"));
    }
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let number = |text: &str| {
        let parsed = text.parse::<u16>();
        parsed.map_err(|_| format!("`{word}` is no port to expose: `{text}` is not a number from 0 to 65535"))
    };
    let (first, last) = (number(first)?, number(last)?);
    if last < first {
        return Err(format!("`{word}` is no range of ports: it ends before it begins"));
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_ranges_and_protocols() {
        let ports = |word: &str| parse(word).map(|ports| ports.join(" "));
        assert_eq!(ports("80").as_deref(), Ok("80/tcp"));
        assert_eq!(ports("53/UDP").as_deref(), Ok("53/udp"));
        assert_eq!(ports("127.0.0.1:8080:80/tcp").as_deref(), Ok("80/tcp"));
        assert_eq!(ports("8000-8002/sctp").as_deref(), Ok("8000/sctp 8001/sctp 8002/sctp"));
        for bad in ["", "x", "80/icmp", "70000", "2-1", "1-", "-1"] {
            assert!(parse(bad).is_err(), "{bad:?} parsed");
        }
    }
}
