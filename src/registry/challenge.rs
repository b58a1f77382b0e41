//! What a registry asks for before it lets us in: the `WWW-Authenticate` header, read. Pure.

use crate::http::HeaderMap;

/// How a registry wants to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token from another place. Source: distribution's token authentication specification.
    Bearer {
        /// The URL that gives tokens.
        realm: String,
        /// The registry's name there.
        service: Option<String>,
        /// The rights, space-separated; often absent.
        scope: Option<String>,
    },
    /// User name and password with each request. Source: RFC 7617.
    Basic,
}

/// Reads all challenges of an answer and returns the best one that we can meet.
pub(super) fn best(headers: &HeaderMap) -> Option<Challenge> {
    let values = headers.get_all("www-authenticate").iter().filter_map(|value| value.to_str().ok());
    let found: Vec<Challenge> = values.flat_map(parse).filter_map(understand).collect();
    let bearer = found.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    bearer.or(found.first()).cloned()
}

/// A scheme with its parameters, names in lower case.
type Raw = (String, Vec<(String, String)>);

fn understand((scheme, parameters): Raw) -> Option<Challenge> {
    let get = |name: &str| {
        parameters.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    };
    match scheme.as_str() {
        "bearer" => Some(Challenge::Bearer { realm: get("realm")?, service: get("service"), scope: get("scope") }),
        "basic" => Some(Challenge::Basic),
        _ => None,
    }
}

/// Splits a header value into challenges; several may share one value, separated by commas as their
/// parameters are, so that only the `=` tells a parameter from a scheme. Source: RFC 9110 section 11.6.1.
fn parse(value: &str) -> Vec<Raw> {
    let mut found: Vec<Raw> = Vec::new();
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return found;
        }
        let length = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        if length == 0 {
            // Not a word: nothing that we understand, so pass over one character.
            let mut characters = rest.chars();
            characters.next();
            rest = characters.as_str();
            continue;
        }
        let (word, after) = rest.split_at(length);
        let after = after.trim_start_matches([' ', '\t']);
        match (after.strip_prefix('='), found.last_mut()) {
            (Some(after), Some((_, parameters))) => {
                let (value, after) = parameter_value(after.trim_start_matches([' ', '\t']));
                parameters.push((word.to_lowercase(), value));
                rest = after;
            }
            (Some(after), None) => rest = after,
            (None, _) => {
                found.push((word.to_lowercase(), Vec::new()));
                rest = after;
            }
        }
    }
}

/// Reads a token or a quoted string, and returns what follows.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let length = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..length].to_owned(), &text[length..]);
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => value.extend(characters.next()),
            other => value.push(other),
        }
    }
    (value, characters.as_str())
}

fn is_token(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn best_of(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("www-authenticate", value.parse().expect("header"));
        }
        best(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Some(Challenge::Bearer { realm: realm.to_owned(), service: own(service), scope: own(scope) })
    }

    #[test]
    fn challenges_in_all_their_forms() {
        let url = "https://t.example/token";
        for (values, expected) in [
            (
                &[r#"Bearer realm="https://t.example/token",service="r",scope="repository:a:pull,push""#][..],
                bearer(url, Some("r"), Some("repository:a:pull,push")),
            ),
            (&[r#"Basic realm="x", Bearer realm="https://t.example/token""#], bearer(url, None, None)),
            (&[r#"Basic realm="x""#, r#"bearer  Realm = "https://t.example/token" "#], bearer(url, None, None)),
            (&["Bearer realm=https://t.example/token,service=r"], bearer(url, Some("r"), None)),
            (&[r#"Basic realm="a, b=\"c\"""#], Some(Challenge::Basic)),
            (&["basic"], Some(Challenge::Basic)),
            (&["Negotiate abc==, Basic"], Some(Challenge::Basic)),
            (&["Bearer service=r"], None),
            (&["Negotiate"], None),
            (&[], None),
        ] {
            assert_eq!(best_of(values), expected, "{values:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,80}") {
            let _ = parse(&text);
        }
    }
}
