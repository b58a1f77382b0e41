//! URLs within a text that came from elsewhere: they lose their user and password, and what their queries may hide.

use std::net::Ipv4Addr;

use super::redact::{MASKED, show_query};

/// What ends a word for [`without_logins`].
const ENDS: [char; 9] = ['"', '\'', '`', '<', '>', '(', ')', '|', '/'];
/// The algorithms of digests. Source: OCI image specification, descriptor.md, "Registered algorithms".
const DIGESTS: [&str; 3] = ["sha256", "sha384", "sha512"];

/// Writes a message with `***` for what stands before the `@` of a URL's host, and for the values of its query that
/// are not known to be harmless; and for a `user:password` before the `@` of a host elsewhere.
///
/// The rooms write their URLs without secrets; this is for texts that come from elsewhere, such as an
/// instruction or a server's answer.
pub fn redact_within(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(index) = rest.find("://") {
        let (before, url) = rest.split_at(index + "://".len());
        shown.push_str(before);
        // A password may contain characters that would end a URL elsewhere.
        let authority = url.find(|c: char| c.is_whitespace() || "/?#".contains(c)).unwrap_or(url.len());
        let url = match url[..authority].rfind('@') {
            Some(at) => {
                shown.push_str(MASKED);
                &url[at..]
            }
            None => url,
        };
        let length = url.find(|c: char| c.is_whitespace() || "\"'`<>()|;".contains(c)).unwrap_or(url.len());
        // A URL within a URL is looked at by itself.
        let length = url.find("://").map_or(length, |inner| inner.min(length));
        let (url, behind) = url.split_at(length);
        match url.find('?') {
            Some(query) => {
                shown.push_str(&url[..=query]);
                shown.push_str(&show_query(&url[query + 1..]));
            }
            None => shown.push_str(url),
        }
        rest = behind;
    }
    shown.push_str(rest);
    without_logins(&shown)
}

/// Writes `***` for `user:password` before the `@` of a host: not for a name and a tag before a digest, nor for a module
/// before its version.
fn without_logins(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        let (before, behind) = rest.split_at(at);
        let start = before.rfind(|c: char| c.is_whitespace() || ENDS.contains(&c));
        let start = start.map_or(0, |start| start + before[start..].chars().next().map_or(0, char::len_utf8));
        // A password may contain `@`: the last one stands before the host.
        let end = behind.find(|c: char| c.is_whitespace() || ENDS.contains(&c)).unwrap_or(behind.len());
        let last = behind[..end].rfind('@').unwrap_or(0);
        let mut kept = behind;
        if is_login(&before[start..]) && is_host(&behind[last + 1..end]) {
            shown.push_str(&before[..start]);
            shown.push_str(MASKED);
            kept = &behind[last..];
        } else {
            shown.push_str(before);
        }
        shown.push('@');
        rest = &kept[1..];
    }
    shown.push_str(rest);
    shown
}

/// Tells whether a word may be a user and a password; `A::B` is the name of a module.
fn is_login(word: &str) -> bool {
    word.split_once(':').is_some_and(|(_, password)| !password.is_empty() && !password.starts_with(':'))
}

/// Tells whether what stands behind an `@` may be a host: no digest, and no version (`1.23`, `v2`, `^3`).
fn is_host(text: &str) -> bool {
    let is_digest = text.split_once(':').is_some_and(|(name, _)| DIGESTS.contains(&name));
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c)).unwrap_or(text.len());
    let (host, behind) = text.split_at(end);
    let is_name = match host.strip_prefix('v').unwrap_or(host).bytes().next() {
        // A variable, an address in brackets, or nothing.
        None => behind.is_empty() || behind.starts_with(['$', '[', ':']) || !host.is_empty(),
        Some(first) if first.is_ascii_digit() => {
            let top = host.rsplit_once('.').map_or("", |(_, top)| top);
            host.parse::<Ipv4Addr>().is_ok() || (top.len() > 1 && top.bytes().all(|byte| byte.is_ascii_alphabetic()))
        }
        Some(_) => true,
    };
    is_name && !is_digest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_go_and_the_rest_stays() {
        for (text, shown) in [
            ("nothing here", "nothing here"),
            ("GET https://a.example/v2/: refused", "GET https://a.example/v2/: refused"),
            ("GET https://a.example/v2/?a=secret: refused", "GET https://a.example/v2/?a=***: refused"),
            ("RUN curl https://user:secret@a.example/x && make", "RUN curl https://***@a.example/x && make"),
            ("https://secret@a.example", "https://***@a.example"),
            ("https://a.example/x?sig=secret end", "https://a.example/x?sig=*** end"),
            ("curl \"https://a.example/x?id=1&Token=secret\" x", "curl \"https://a.example/x?id=1&Token=***\" x"),
            ("https://a.example/x.git?ref=v1&subdir=a/b", "https://a.example/x.git?ref=v1&subdir=a/b"),
            ("https://a.example/?secret", "https://a.example/?***"),
            ("a git://u:p@s@h/x (https://t@h)", "a git://***@h/x (https://***@h)"),
            ("mail a@b.example://", "mail a@b.example://"),
            ("https://a.example/mail@b", "https://a.example/mail@b"),
            ("a://b://user:secret@c", "a://b://***@c"),
            ("ADD https://user:pa;s's(e)c|ret@c.example/f /", "ADD https://***@c.example/f /"),
            ("(https://a.example), b@c", "(https://a.example), b@c"),
            ("it is `user:secret@a.example:5000/x`", "it is `***@a.example:5000/x`"),
            ("docker.io=user:sec=ret@a.example", "***@a.example"),
            ("user:se@cret@a.example", "***@a.example"),
            ("/work/https:/user:secret@a.example/f", "/work/https:/***@a.example/f"),
            ("git@a.example:x and a:1@", "git@a.example:x and ***@"),
            (
                "user:secret@10.0.0.1:5000 u:p@$HOST u:p@[::1] u:p@3.example",
                "***@10.0.0.1:5000 ***@$HOST ***@[::1] ***@3.example",
            ),
            ("cpanm DBD::MariaDB@1.23 A::B::C@v2", "cpanm DBD::MariaDB@1.23 A::B::C@v2"),
            ("yarn add x@npm:react@18 y@npm:z@^2.0", "yarn add x@npm:react@18 y@npm:z@^2.0"),
            ("FROM ubuntu:7@sha256:7 AS a", "FROM ubuntu:7@sha256:7 AS a"),
            (
                "r.io:5/a:1@sha256:0123456789012345678901234567890123456789",
                "r.io:5/a:1@sha256:0123456789012345678901234567890123456789",
            ),
        ] {
            assert_eq!(redact_within(text), shown);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_password_survives(before in "[ -~]{0,12}", user in "[a-z]{0,4}", after in "[ -~]{0,12}") {
            let text = format!("{before} https://{user}:hunter2@host/{after}");
            prop_assert!(!redact_within(&text).contains("hunter2"), "{}", redact_within(&text));
            let text = format!("{before} u{user}:hunter2@host/{after}");
            prop_assert!(!redact_within(&text).contains("hunter2"), "{}", redact_within(&text));
        }
    }
}
