//! containers-registries.conf(5), version 2: the file in which Podman, Skopeo and CRI-O have their mirrors.
//!
//! Knows what its keys mean, and makes rules of [`Mirrors`](super::Mirrors) of them. Does not know where the file is;
//! drop-in directories and short names are none of its business.
//!
//! *Invariant: a key that changes where those programs look, and not where we do, is told or refused; none is ignored
//! in silence.*

use serde::Deserialize;
use toml::{Table, Value};

use super::mirrors::{Mirror, Pulls, Rule, Scope};
use crate::oci::Reference;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistriesConf {
    /// What holds for which references.
    pub rules: Vec<Rule>,
    /// What of it does not hold here, and why.
    pub notes: Vec<String>,
}

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RegistriesConfError(String);

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    registry: Vec<RegistryTable>,
    #[serde(default)]
    unqualified_search_registries: Vec<String>,
    #[serde(default)]
    credential_helpers: Vec<String>,
    #[serde(default)]
    aliases: Table,
    #[serde(default, rename = "short-name-mode")]
    _short_name_mode: Option<Value>,
    /// Version 1 of the format.
    #[serde(default)]
    registries: Option<Value>,
    #[serde(flatten)]
    unknown: Table,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RegistryTable {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<MirrorTable>,
    #[serde(flatten)]
    unknown: Table,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorTable {
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: String,
    #[serde(flatten)]
    unknown: Table,
}

impl RegistriesConf {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// [`RegistriesConfError`], with the line or the table, for what those programs refuse, and for version 1.
    pub fn parse(text: &str) -> Result<Self, RegistriesConfError> {
        let file: File = toml::from_str(text).map_err(|error| malformed(text, &error))?;
        if file.registries.is_some() {
            let reason = "[registries.…] tables are version 1 of the format; write [[registry]] tables";
            return Err(RegistriesConfError(reason.to_owned()));
        }
        let mut conf = Self { rules: Vec::new(), notes: global_notes(&file) };
        for table in &file.registry {
            if let Some(name) = tagged(table) {
                let reason = "holds for nothing: prefixes are compared with names, which have no tag and no digest";
                conf.notes.push(format!("[[registry]] {name} {reason}"));
                continue;
            }
            let rule = rule(table)?;
            conf.notes.extend(unknown(&format!("[[registry]] {}", rule.scope), &table.unknown));
            if conf.rules.iter().any(|other| other.scope == rule.scope) {
                conf.notes.push(format!("the second [[registry]] for {} is not used", rule.scope));
                continue;
            }
            for mirror in &table.mirror {
                conf.notes.extend(unknown(&format!("[[registry.mirror]] {}", mirror.location), &mirror.unknown));
            }
            conf.rules.push(rule);
        }
        agree(&file.registry)?;
        Ok(conf)
    }
}

fn malformed(text: &str, error: &toml::de::Error) -> RegistriesConfError {
    let at = error.span().map_or(0, |span| span.start);
    let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
    RegistriesConfError(format!("line {line}: {}", error.message().lines().collect::<Vec<_>>().join(" ")))
}

fn global_notes(file: &File) -> Vec<String> {
    let mut notes = Vec::new();
    let search = &file.unqualified_search_registries;
    if !search.is_empty() && *search != [crate::oci::DEFAULT_REGISTRY] {
        let message = "unqualified-search-registries do not hold here: a name without a registry is Docker Hub's";
        notes.push(message.to_owned());
    }
    if !file.aliases.is_empty() {
        notes.push("[aliases] do not hold here: a name without a registry is Docker Hub's".to_owned());
    }
    if !file.credential_helpers.is_empty() && file.credential_helpers != ["containers-auth.json"] {
        notes.push("credential-helpers do not hold here: name them in --credential-helpers".to_owned());
    }
    notes.extend(unknown("the file", &file.unknown));
    notes
}

fn unknown(place: &str, keys: &Table) -> Option<String> {
    let names: Vec<&str> = keys.keys().map(String::as_str).collect();
    (!names.is_empty()).then(|| format!("nobody knows the key {} of {place}", names.join(", ")))
}

impl RegistryTable {
    fn named(&self) -> &str {
        if self.prefix.is_empty() { &self.location } else { &self.prefix }
    }

    fn place(&self) -> &str {
        let place = if self.location.is_empty() { &self.prefix } else { &self.location };
        place.trim_end_matches('/')
    }
}

/// Returns what a table is for if that is a tag or a digest of a repository.
fn tagged(table: &RegistryTable) -> Option<&str> {
    let named = table.named();
    let (_, path) = named.split_once('/')?;
    (path.contains([':', '@']) && !named.contains("://") && named.parse::<Reference>().is_ok()).then_some(named)
}

/// Refuses what several tables say of one place, and not the same.
fn agree(tables: &[RegistryTable]) -> Result<(), RegistriesConfError> {
    for (number, table) in tables.iter().enumerate() {
        for other in tables[..number].iter().filter(|other| other.place() == table.place()) {
            let keys = [("insecure", table.insecure, other.insecure), ("blocked", table.blocked, other.blocked)];
            if let Some((key, ..)) = keys.into_iter().find(|(_, one, other)| one != other) {
                let (first, second, place) = (other.named(), table.named(), table.place());
                let reason =
                    format!("[[registry]] {first} and {second} have the location {place}, and another `{key}`");
                return Err(RegistriesConfError(reason));
            }
        }
    }
    Ok(())
}

fn rule(table: &RegistryTable) -> Result<Rule, RegistriesConfError> {
    let named = table.named();
    if named.is_empty() {
        return Err(RegistriesConfError("a [[registry]] has neither prefix nor location".to_owned()));
    }
    let refused = |reason: String| RegistriesConfError(format!("[[registry]] {named}: {reason}"));
    let scope = scope(named).map_err(refused)?;
    let location = match (&*table.location, &scope) {
        ("", Scope::Below(_)) => None,
        ("", Scope::Name { .. }) => return Err(refused("it has no location".to_owned())),
        (location, _) => Some(Mirror { insecure: table.insecure, ..place(location).map_err(refused)? }),
    };
    let mirrors = table.mirror.iter().map(|mirror| read_mirror(mirror, table.mirror_by_digest_only).map_err(refused));
    let mirrors = mirrors.collect::<Result<_, _>>()?;
    Ok(Rule { scope, location, mirrors, blocked: table.blocked, insecure: table.insecure })
}

fn scope(prefix: &str) -> Result<Scope, String> {
    if let Some(domain) = prefix.strip_prefix("*.") {
        // A single label after `*.` could not be told from a namespace of Docker Hub.
        let host = place(&format!("x.{domain}"));
        let is_domain = host.is_ok_and(|host| host.prefix.is_empty() && !host.registry.contains(':'));
        let reason = "`*.` stands before a domain without port and path";
        return if is_domain { Ok(Scope::Below(domain.to_owned())) } else { Err(reason.to_owned()) };
    }
    place(prefix).map(|place| Scope::Name { registry: place.registry, path: place.prefix })
}

fn read_mirror(table: &MirrorTable, by_digest_only: bool) -> Result<Mirror, String> {
    if table.location.is_empty() {
        return Err("a mirror has no location".to_owned());
    }
    let pulls = match (&*table.pull_from_mirror, by_digest_only) {
        ("", false) | ("all", false) => Pulls::All,
        ("", true) | ("digest-only", false) => Pulls::ByDigest,
        ("tag-only", false) => Pulls::ByTag,
        (_, true) => return Err("pull-from-mirror and mirror-by-digest-only do not go together".to_owned()),
        (other, false) => {
            return Err(format!("pull-from-mirror cannot be `{other}`: it is all, digest-only or tag-only"));
        }
    };
    Ok(Mirror { pulls, insecure: table.insecure, ..place(&table.location)? })
}

fn place(text: &str) -> Result<Mirror, String> {
    if text.contains("://") {
        return Err(format!("write `{}` without a scheme", crate::http::redact_text(text)));
    }
    text.trim_end_matches('/').parse().map_err(|_| format!("`{text}` is no host[:port], perhaps with /path"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::registry::Mirrors;

    const FILE: &str = r#"
unqualified-search-registries = ["docker.io"]
[[registry]]
prefix = "docker.io"
location = "hub.example/cache"
[[registry.mirror]]
location = "first.example/hub"
[[registry.mirror]]
location = "pinned.example"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "tags.example:5000/"
pull-from-mirror = "tag-only"

[[registry]]
prefix = "docker.io/library/busybox"
location = "docker.io/library/busybox"
mirror-by-digest-only = true
[[registry.mirror]]
location = "box.example/bb"

[[registry]]
prefix = "*.corp.example"
blocked = true
[[registry.mirror]]
location = "corp.example/mirror"

[[registry]]
location = "ab.corp.example"
insecure = true

[[registry]]
prefix = "moved.example/a/b"
location = "new.example"

[[registry]]
prefix = "*.ports.example"
location = "other.example"
[[registry.mirror]]
location = "third.example"
"#;

    fn mirrors(text: &str) -> Mirrors {
        let conf = RegistriesConf::parse(text).expect("it is valid");
        assert_eq!(conf.notes, [""; 0]);
        Mirrors { rules: conf.rules, ..Mirrors::default() }
    }

    #[test]
    fn the_longest_prefix_tells_where_to_ask() {
        const PIN: &str = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let mirrors = mirrors(FILE);
        let rows: [(&str, &str); 11] = [
            ("team/app:1", "first.example/hub/team/app:1 tags.example:5000/team/app:1 hub.example/cache/team/app:1"),
            ("team/app@", "first.example/hub/team/app@ pinned.example/team/app@ hub.example/cache/team/app@"),
            ("busybox:1", "docker.io/library/busybox:1"),
            ("busybox@", "box.example/bb@ docker.io/library/busybox@"),
            (
                "docker.io/library/busybox2:1",
                "first.example/hub/library/busybox2:1 tags.example:5000/library/busybox2:1 hub.example/cache/library/busybox2:1",
            ),
            ("x.y.corp.example/t/app:1", "corp.example/mirror/t/app:1 x.y.corp.example/t/app:1"),
            ("ab.corp.example/app:1", "ab.corp.example/app:1"),
            ("corp.example/app:1", "corp.example/app:1"),
            ("moved.example/a/b/c:1", "new.example/c:1"),
            ("x.ports.example:5000/app:1", "third.example:5000/app:1 other.example:5000/app:1"),
            ("x.corp.example:5000/app:1", ""),
        ];
        for (text, expected) in rows {
            let reference: Reference = text.replace('@', PIN).parse().expect(text);
            let places: Vec<String> =
                mirrors.places(&reference).iter().map(|place| place.reference.to_string().replace(PIN, "@")).collect();
            assert_eq!(places.join(" "), expected, "{text}");
        }
        let reference = |text: &str| text.parse::<Reference>().expect(text);
        assert!(mirrors.blocked(&reference("x.corp.example/app")).is_some());
        assert!(mirrors.blocked(&reference("ab.corp.example/app")).is_none(), "the longer prefix holds alone");
        assert!(mirrors.itself(&reference("ab.corp.example/app")).insecure);
        assert!(!mirrors.itself(&reference("b.corp.example/app")).insecure);
        assert_eq!(mirrors.places(&reference("moved.example/a/b:1")), [], "nothing of the name is left");
    }

    #[test]
    fn insecurity_is_of_the_place_of_this_reference_whatever_the_order_of_the_file() {
        let origin = "[[registry]]\nprefix='a.example'\nlocation='b.example/x'\n[[registry.mirror]]\n\
            location='b.example/y'\ninsecure=true\n";
        let own = "[[registry]]\nlocation='b.example'\n";
        let last = "[[registry]]\nlocation='c.example'\ninsecure=true\n[[registry.mirror]]\nlocation='b.example/y'\n";
        for text in [format!("{origin}{last}"), format!("{origin}{own}{last}"), format!("{last}{own}{origin}")] {
            let mirrors = mirrors(&text);
            for (reference, expected) in [
                ("a.example/app", "b.example/y/app true, b.example/x/app false"),
                ("b.example/y/app", "b.example/y/app false"),
                ("c.example/app", "b.example/y/app false, c.example/app true"),
            ] {
                let places = mirrors.places(&reference.parse().expect(reference));
                let places = places.iter().map(|place| format!("{} {}", place.reference.name(), place.insecure));
                assert_eq!(places.collect::<Vec<_>>().join(", "), expected, "{reference} of {text}");
            }
        }
    }

    #[test]
    fn a_registry_with_mirrors_for_digests_only_is_not_asked_itself_for_a_tag_when_that_is_not_wanted() {
        let table = "[[registry]]\nlocation='a.example'\nmirror-by-digest-only=true\n[[registry.mirror]]\n\
            location='m.example'\n";
        let only = Mirrors { only: true, ..mirrors(table) };
        assert_eq!(only.places(&"a.example/app:1".parse().expect("a reference")), []);
        assert_eq!(only.places(&"b.example/app:1".parse().expect("a reference")).len(), 1, "it has no mirrors");
    }

    #[test]
    fn what_does_not_hold_is_told() {
        for (text, told) in [
            ("unqualified-search-registries=['quay.io']", "unqualified-search-registries do not hold"),
            ("[aliases]\na='quay.io/a'", "[aliases] do not hold"),
            ("credential-helpers=['secretservice']", "--credential-helpers"),
            ("what='x'", "nobody knows the key what of the file"),
            (
                "[[registry]]\nlocation='a.example'\ninsecur=true",
                "nobody knows the key insecur of [[registry]] a.example",
            ),
            (
                "[[registry]]\nlocation='a.example'\n[[registry.mirror]]\nlocation='m.example'\nx=1",
                "nobody knows the key x of [[registry.mirror]] m.example",
            ),
            ("[[registry]]\nlocation='a.example'\n[[registry]]\nlocation='a.example'", "the second [[registry]]"),
            (
                "[[registry]]\nprefix='a.example/x:1'\nlocation='b.example'",
                "[[registry]] a.example/x:1 holds for nothing",
            ),
            (
                "[[registry]]\nlocation='a.example/x@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'",
                "852b855 holds for nothing",
            ),
        ] {
            let notes = RegistriesConf::parse(text).expect(text).notes;
            assert!(notes.len() == 1 && notes[0].contains(told), "{text}: {notes:?}");
        }
        for text in ["", "short-name-mode='enforcing'", "credential-helpers=['containers-auth.json']"] {
            assert_eq!(RegistriesConf::parse(text), Ok(RegistriesConf::default()), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for (text, expected) in [
            ("[registries.search]\nregistries=['quay.io']", "version 1"),
            ("\n\n[[registry", "line 3"),
            ("[[registry]]\ninsecure='yes'", "line 2"),
            ("[[registry]]\nblocked=true", "neither prefix nor location"),
            ("[[registry]]\nprefix='a.example'", "has no location"),
            ("[[registry]]\nlocation='https://a.example'", "without a scheme"),
            ("[[registry]]\nlocation='x.example/UPPER'", "is no host"),
            ("[[registry]]\nprefix='*.a.example/x'", "without port and path"),
            ("[[registry]]\nprefix='a.*.example'\nlocation='b.example'", "is no host"),
            ("[[registry]]\nprefix='a.example/x:'\nlocation='b.example'", "is no host"),
            (
                "[[registry]]\nlocation='a.example'\n[[registry]]\nprefix='b.example'\nlocation='a.example/'\ninsecure=true",
                "another `insecure`",
            ),
            (
                "[[registry]]\nlocation='a.example'\nblocked=true\n[[registry]]\nlocation='a.example'",
                "another `blocked`",
            ),
            ("[[registry]]\nlocation='a.example'\n[[registry.mirror]]\ninsecure=true", "a mirror has no location"),
            (
                "[[registry]]\nlocation='a.example'\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation='m.example'\npull-from-mirror='all'",
                "do not go together",
            ),
            (
                "[[registry]]\nlocation='a.example'\n[[registry.mirror]]\nlocation='m.example'\npull-from-mirror='some'",
                "cannot be `some`",
            ),
        ] {
            let error = RegistriesConf::parse(text).expect_err(text).to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\[\\[registry(\\.mirror)?\\]\\]\n|(prefix|location|blocked)=[\"a-z.*/:]{0,8}\n|\\PC{0,6}){0,6}") {
            let _ = RegistriesConf::parse(&text);
        }
    }
}
