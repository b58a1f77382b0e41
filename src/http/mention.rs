//! URLs within a text that came from elsewhere: they lose their user, password and query.

/// What ends a word for [`without_logins`].
const ENDS: [char; 9] = ['"', '\'', '`', '<', '>', '(', ')', '|', '/'];
/// No digest has fewer digits.
const SHORTEST_DIGEST: usize = 32;

/// Writes a message with `***` for what stands before the `@` of a URL's host, and behind its `?`; and for a
/// `user:password` before any other `@`.
///
/// The rooms write their URLs without secrets; this is for texts that come from elsewhere, such as an
/// instruction or a server's answer.
pub fn redact_within(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(index) = rest.find("://") {
        let (before, url) = rest.split_at(index + "://".len());
        shown.push_str(before);
        // A password may hold what elsewhere ends a URL.
        let authority = url.find(|c: char| c.is_whitespace() || "/?#".contains(c)).unwrap_or(url.len());
        let url = match url[..authority].rfind('@') {
            Some(at) => {
                shown.push_str("***");
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
                shown.push_str(&url[..query]);
                shown.push_str("?***");
            }
            None => shown.push_str(url),
        }
        rest = behind;
    }
    shown.push_str(rest);
    without_logins(&shown)
}

/// Writes `***` for `user:password` before an `@`, unless it is a name and a tag before a digest.
fn without_logins(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        let (before, behind) = rest.split_at(at);
        let start = before.rfind(|c: char| c.is_whitespace() || ENDS.contains(&c));
        let start = start.map_or(0, |start| start + before[start..].chars().next().map_or(0, char::len_utf8));
        let has_password = before[start..].split_once(':').is_some_and(|(_, password)| !password.is_empty());
        let mut kept = behind;
        if has_password && !is_digest(&behind[1..]) {
            shown.push_str(&before[..start]);
            shown.push_str("***");
            // A password may hold what it is divided from the host by.
            let end = behind.find(|c: char| c.is_whitespace() || ENDS.contains(&c)).unwrap_or(behind.len());
            kept = &behind[behind[..end].rfind('@').unwrap_or(0)..];
        } else {
            shown.push_str(before);
        }
        shown.push('@');
        rest = &kept[1..];
    }
    shown.push_str(rest);
    shown
}

fn is_digest(text: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_hexdigit).count();
    let digest = text.split_once(':').filter(|(name, _)| name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    digest.is_some_and(|(_, rest)| digits(rest) >= SHORTEST_DIGEST)
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
            ("RUN curl https://user:secret@a.example/x && make", "RUN curl https://***@a.example/x && make"),
            ("https://secret@a.example", "https://***@a.example"),
            ("https://a.example/x?sig=secret end", "https://a.example/x?*** end"),
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
