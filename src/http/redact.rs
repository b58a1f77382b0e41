//! URLs without their secrets.

use reqwest::Url;

/// Stands where a secret would.
pub const MASKED: &str = "***";

/// Query parameters whose values help a reader and open nothing: of registries, of Git contexts, of downloads.
const HARMLESS: [&str; 37] = [
    "account",
    "arch",
    "artifact-type",
    "artifactType",
    "branch",
    "channel",
    "checksum",
    "commit",
    "digest",
    "distro",
    "dl",
    "download",
    "fetch-by-commit",
    "file",
    "format",
    "from",
    "id",
    "keep-git-dir",
    "lang",
    "last",
    "mount",
    "mtime",
    "n",
    "name",
    "os",
    "page",
    "path",
    "platform",
    "raw",
    "ref",
    "release",
    "scope",
    "service",
    "subdir",
    "submodules",
    "tag",
    "version",
];

/// Writes a URL for a message: without user and password, and with every query value hidden that is not
/// known to be harmless, because each object store names its signatures in its own way.
pub fn redact(url: &Url) -> String {
    let mut shown = url.clone();
    // Both fail only for URLs that cannot have a user, which then is nothing to hide.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_fragment(None);
    if url.query().is_some() {
        let pairs = url.query_pairs().filter(|(name, _)| !is_of_signature(name));
        let pairs: Vec<String> = pairs.map(|(name, value)| show(&name, &value)).collect();
        shown.set_query(Some(pairs.join("&").as_str()).filter(|query| !query.is_empty()));
    }
    shown.to_string()
}

/// Writes a text that may be a URL for a message; what cannot be read is hidden whole.
pub fn redact_text(text: &str) -> String {
    // Without a host, as in `user:password@`, the user would be taken for the scheme.
    let url = Url::parse(text).ok().filter(Url::has_host);
    url.map_or_else(|| "(not a URL)".to_owned(), |url| redact(&url))
}

/// Hides what queries may hold in each word of a text that came from outside.
pub(super) fn hide_queries(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.split_once('?') {
        Some((before, query)) if query.contains('=') => format!("{before}?{}", show_query(query)),
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Writes a query as it stands in a text: with every value hidden that is not known to be harmless. What ends a part of a
/// sentence is no part of a value.
pub(super) fn show_query(whole: &str) -> String {
    let query = whole.trim_end_matches([':', ',']);
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, value)) => show(name, value),
        None if pair.is_empty() => String::new(),
        None => MASKED.to_owned(),
    });
    pairs.collect::<Vec<_>>().join("&") + &whole[query.len()..]
}

/// Tells whether a parameter is one of the many that sign a URL for Amazon or Google: their names help nobody, either.
fn is_of_signature(name: &str) -> bool {
    name.starts_with("X-Amz-") || name.starts_with("X-Goog-") || name == "x-id"
}

fn show(name: &str, value: &str) -> String {
    if HARMLESS.contains(&name) { format!("{name}={value}") } else { format!("{name}={MASKED}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_the_rest_is_kept() {
        for (url, shown) in [
            ("https://user:secret@a.example/v2/", "https://a.example/v2/"),
            ("https://a.example/x?X-Amz-Signature=secret&n=1", "https://a.example/x?n=1"),
            ("https://a.example/x?x-id=GetObject&X-Amz-Signature=secret", "https://a.example/x"),
            ("https://a.example/x?sig=secret#secret", "https://a.example/x?sig=***"),
            (
                "https://a.example/t?scope=repository:x:pull&_state=secret",
                "https://a.example/t?scope=repository:x:pull&_state=***",
            ),
            ("http://secret@proxy:3128", "http://proxy:3128/"),
        ] {
            assert_eq!(redact_text(url), shown);
        }
        assert!(!redact_text("user:secret@").contains("secret"));
    }
}
