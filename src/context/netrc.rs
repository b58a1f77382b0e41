//! `.netrc`: logins by host.
//!
//! Source: <https://www.gnu.org/software/inetutils/manual/html_node/The-_002enetrc-file.html>.

use std::fs;
use std::path::PathBuf;

use super::access::{Login, Secret};

/// Finds the login for a host in the `.netrc` of the first directory that has one for it, by its name or, with
/// `default`, for all hosts.
pub(super) fn login(homes: &[PathBuf], host: &str, default: bool) -> Option<Login> {
    homes.iter().find_map(|home| {
        let path = home.join(".netrc");
        let text = fs::read_to_string(&path).ok()?;
        let (user, password) = find(&text, host, default)?;
        Some(Login { source: path.display().to_string(), secret: Secret::Basic { user, password } })
    })
}

fn find(text: &str, host: &str, default: bool) -> Option<(String, String)> {
    // A macro runs to the next empty line, and may hold words that look like ours.
    let mut words = Vec::new();
    let mut in_macro = false;
    for line in text.lines() {
        in_macro = !line.trim().is_empty() && (in_macro || line.trim_start().starts_with("macdef"));
        if !in_macro && !line.trim_start().starts_with('#') {
            words.extend(line.split_whitespace());
        }
    }
    let mut words = words.into_iter();
    let (mut applies, mut user, mut password) = (false, None, None);
    while let Some(word) = words.next() {
        match word {
            "machine" | "default" => {
                if applies && password.is_some() {
                    break;
                }
                applies = if word == "default" { default } else { words.next() == Some(host) };
                (user, password) = (None, None);
            }
            "login" => user = words.next(),
            "password" => password = words.next(),
            "account" => drop(words.next()),
            _ => {}
        }
    }
    let password = password.filter(|_| applies)?;
    Some((user.unwrap_or_default().to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_for_the_host_counts() {
        let text = "# comment\nmachine a.example login one password p1\nmacdef init\n machine b.example password no\n\n\
                    machine b.example\n  login two\n  password p2\nmachine b.example login x password y\n";
        assert_eq!(find(text, "a.example", true), Some(("one".into(), "p1".into())));
        assert_eq!(find(text, "b.example", true), Some(("two".into(), "p2".into())));
        assert_eq!(find(text, "c.example", true), None);
        assert_eq!(
            find(&format!("{text}default login d password p3"), "c.example", true),
            Some(("d".into(), "p3".into()))
        );
        assert_eq!(find("machine a login", "a", true), None);
    }
}
