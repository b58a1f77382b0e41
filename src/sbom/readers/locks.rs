//! Lock files: what a project asked for. They count where nothing that they name is installed beside them, as with
//! packages that are kept in archives (yarn's Plug'n'Play), and then the document says that only a lock names it.
//!
//! Sources: <https://docs.npmjs.com/cli/configuring-npm/package-lock-json>, <https://github.com/pnpm/spec/tree/master/lockfile>,
//! <https://github.com/yarnpkg/yarn/blob/master/src/lockfile>, <https://doc.rust-lang.org/cargo/guide/cargo-toml-vs-cargo-lock.html>.

use serde_json::Value;

use crate::sbom::file::Findings;
use crate::sbom::json::licences;
use crate::sbom::package::{Kind, Package};
use crate::sbom::text::LineReader;

/// Tells whether a lock file in this directory is a project's own: not one that came with an installed package.
pub(in crate::sbom) fn counts(directory: &[u8]) -> bool {
    let parts: Vec<&[u8]> = directory.split(|byte| *byte == b'/').collect();
    let is_other = |part: &&[u8]| matches!(*part, b"node_modules" | b"site-packages" | b"dist-packages");
    // Cargo's own copies of sources.
    let is_source = memchr::memmem::find(directory, b"registry/src/").is_some();
    !is_source && !parts.iter().any(is_other) && !parts.windows(2).any(is_gem)
}

/// Tells whether these are the last parts of a gem's directory: `gems/NAME-VERSION`.
fn is_gem(parts: &[&[u8]]) -> bool {
    let [b"gems", name] = parts else { return false };
    name.windows(2).any(|pair| pair[0] == b'-' && pair[1].is_ascii_digit())
}

fn locked(kind: Kind, name: &str, version: &str) -> Package {
    Package { is_locked_only: true, ..Package::new(kind, name, version) }
}

fn found(mut packages: Vec<Package>) -> Findings {
    packages.sort();
    packages.dedup();
    Findings::of(packages)
}

/// Reads npm's lock, of version 1 to 3; what only developers need is left out.
pub(in crate::sbom) fn npm(_: &[u8], text: &[u8]) -> Result<Findings, String> {
    let json: Value = serde_json::from_slice(text).map_err(|error| format!("it is no JSON: {error}"))?;
    let mut packages = Vec::new();
    if let Some(all) = json["packages"].as_object() {
        for (path, entry) in all {
            let by_path = path.rsplit_once("node_modules/").map(|(_, name)| name);
            let name = entry["name"].as_str().or(by_path);
            let (Some(name), Some(version), Some(_)) = (name, entry["version"].as_str(), by_path) else { continue };
            if entry["dev"] != true && entry["link"] != true {
                let licences = licences(&entry["license"]);
                packages.push(Package { licences, ..locked(Kind::Npm, name, version) });
            }
        }
    } else {
        nested(&json["dependencies"], &mut packages, 0);
    }
    Ok(found(packages))
}

/// Reads the dependencies of version 1, which stand in each other.
fn nested(dependencies: &Value, packages: &mut Vec<Package>, depth: usize) {
    for (name, entry) in dependencies.as_object().into_iter().flatten().filter(|_| depth < 64) {
        if let Some(version) = entry["version"].as_str().filter(|_| entry["dev"] != true) {
            packages.push(locked(Kind::Npm, name, version));
        }
        nested(&entry["dependencies"], packages, depth + 1);
    }
}

/// Reads yarn's lock, of its first form and of the later ones.
#[derive(Default)]
pub(in crate::sbom) struct Yarn {
    name: Option<String>,
    packages: Vec<Package>,
}

impl LineReader for Yarn {
    fn line(&mut self, line: &str) -> bool {
        if !line.starts_with([' ', '#']) && line.ends_with(':') {
            let first = line.trim_end_matches(':').split(", ").next().unwrap_or_default().trim_matches('"');
            // A workspace is the project itself.
            let is_own = line.contains("@workspace:") || first == "__metadata";
            self.name = at_name(first).filter(|_| !is_own).map(str::to_owned);
        } else if let Some(rest) = line.strip_prefix("  version")
            && let Some(name) = self.name.take()
        {
            let version = rest.trim_start_matches(':').trim().trim_matches('"');
            self.packages.push(locked(Kind::Npm, &name, version));
        } else if let Some(resolution) = line.strip_prefix("  resolution: \"")
            && let Some((name, _)) = resolution.split_once("@npm:")
            && let Some(last) = self.packages.last_mut()
        {
            // An alias resolves to another name.
            name.clone_into(&mut last.name);
        }
        true
    }

    fn end(self: Box<Self>) -> Findings {
        found(self.packages)
    }
}

/// Returns what stands before the `@` of a version; a scope begins with one itself.
fn at_name(text: &str) -> Option<&str> {
    let at = text.get(1..)?.find('@')? + 1;
    Some(&text[..at])
}

/// Reads pnpm's lock: the keys of its `packages`.
#[derive(Default)]
pub(in crate::sbom) struct Pnpm {
    is_inside: bool,
    packages: Vec<Package>,
}

impl LineReader for Pnpm {
    fn line(&mut self, line: &str) -> bool {
        if !line.starts_with(' ') {
            if !line.trim().is_empty() {
                self.is_inside = line.starts_with("packages:");
            }
            return true;
        }
        let key = line.strip_prefix("  ").filter(|rest| self.is_inside && !rest.starts_with([' ', '#']));
        if let Some(key) = key.and_then(|key| key.trim_end().strip_suffix(':')) {
            self.packages.extend(pnpm_key(key.trim_matches(['\'', '"'])));
        } else if line.trim() == "dev: true" && self.is_inside {
            self.packages.pop();
        }
        true
    }

    fn end(self: Box<Self>) -> Findings {
        found(self.packages)
    }
}

/// Reads `name@version`, `/name@version` or `/name/version`, with what it was resolved with behind it.
fn pnpm_key(key: &str) -> Option<Package> {
    let key = key.strip_prefix('/').unwrap_or(key);
    let key = key.split('(').next()?;
    let (name, version) = match at_name(key) {
        Some(name) => (name, &key[name.len() + 1..]),
        None => key.rsplit_once('/')?,
    };
    let version = version.split('_').next()?;
    version.starts_with(|c: char| c.is_ascii_digit()).then(|| locked(Kind::Npm, name, version))
}

/// Reads Cargo's lock; what has no source is the project itself.
#[derive(Default)]
pub(in crate::sbom) struct Cargo {
    name: Option<String>,
    version: Option<String>,
    packages: Vec<Package>,
}

impl LineReader for Cargo {
    fn line(&mut self, line: &str) -> bool {
        if line == "[[package]]" {
            (self.name, self.version) = (None, None);
        } else if let Some((key, value)) = line.split_once(" = ") {
            let value = value.trim_matches('"');
            match key {
                "name" => self.name = Some(value.to_owned()),
                "version" => self.version = Some(value.to_owned()),
                "source" => {
                    if let (Some(name), Some(version)) = (&self.name, &self.version) {
                        self.packages.push(locked(Kind::Cargo, name, version));
                    }
                }
                _ => {}
            }
        }
        true
    }

    fn end(self: Box<Self>) -> Findings {
        found(self.packages)
    }
}

#[cfg(test)]
mod tests {
    use crate::sbom::testing::{names, read};

    fn all(path: &str, text: &str) -> Vec<String> {
        let found = read(path, text.as_bytes());
        assert!(found.packages.iter().all(|package| package.is_locked_only));
        names(&found)
    }

    #[test]
    fn npm_has_had_three_versions() {
        let third = r#"{"lockfileVersion": 3, "packages": {"": {"name": "app", "version": "1.0.0"},
            "node_modules/a": {"version": "1.0.0", "license": "MIT"}, "node_modules/dev": {"version": "1.0.0", "dev": true},
            "node_modules/a/node_modules/@s/b": {"version": "2.0.0"}, "node_modules/l": {"link": true, "resolved": "l"},
            "l": {"name": "l", "version": "9.0.0"}, "node_modules/alias": {"name": "real", "version": "3.0.0"}}}"#;
        assert_eq!(all("app/package-lock.json", third), ["@s/b 2.0.0", "a 1.0.0", "real 3.0.0"]);
        let first = r#"{"dependencies": {"a": {"version": "1.0.0", "dependencies": {"b": {"version": "2.0.0"}}},
            "dev": {"version": "1", "dev": true}}}"#;
        assert_eq!(all("app/npm-shrinkwrap.json", first), ["a 1.0.0", "b 2.0.0"]);
        assert!(all("app/node_modules/x/package-lock.json", third).is_empty());
        assert!(
            all("usr/share/rubygems-integration/all/gems/typeprof-0.21.2/vscode/package-lock.json", third).is_empty()
        );
        assert!(!all("app/gems/own/package-lock.json", third).is_empty());
    }

    #[test]
    fn yarn_has_had_two_forms() {
        let classic = "# yarn lockfile v1\n\n\n\"@babel/core@^7.0.0\", \"@babel/core@^7.1.0\":\n  version \"7.23.0\"\n  \
                       resolved \"https://registry.example.com/x\"\n  dependencies:\n    semver \"^6\"\n\n\
                       semver@^6.3.1:\n  version \"6.3.1\"\n";
        assert_eq!(all("app/yarn.lock", classic), ["@babel/core 7.23.0", "semver 6.3.1"]);
        let berry = "__metadata:\n  version: 6\n\n\"alias@npm:^1.0.0\":\n  version: 1.2.0\n  \
                     resolution: \"real@npm:1.2.0\"\n\n\"app@workspace:.\":\n  version: 0.0.0-use.local\n  \
                     resolution: \"app@workspace:.\"\n";
        assert_eq!(all("app/yarn.lock", berry), ["real 1.2.0"]);
    }

    #[test]
    fn pnpm_has_had_several_keys() {
        let text = "lockfileVersion: '9.0'\n\nimporters:\n\n  .:\n    dependencies:\n      a:\n        version: 1.0.0\n\n\
                    packages:\n\n  '@s/a@1.0.0':\n    resolution: {integrity: x}\n\n  /b@2.0.0(react@18.0.0):\n    \
                    resolution: {integrity: y}\n    dev: false\n\n  /c/3.0.0_react@18.0.0:\n    dev: true\n\n  \
                    /d/4.0.0:\n    engines: {node: '>=4'}\n\nsnapshots:\n\n  e@5.0.0: {}\n";
        assert_eq!(all("app/pnpm-lock.yaml", text), ["@s/a 1.0.0", "b 2.0.0", "d 4.0.0"]);
    }

    #[test]
    fn cargo_names_what_comes_from_elsewhere() {
        let text = "version = 3\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\ndependencies = [\n \"serde\",\n]\n\n\
                    [[package]]\nname = \"serde\"\nversion = \"1.0.190\"\nsource = \"registry+https://x\"\nchecksum = \"y\"\n";
        assert_eq!(all("app/Cargo.lock", text), ["serde 1.0.190"]);
        assert!(all("usr/local/cargo/registry/src/index/serde-1/Cargo.lock", text).is_empty());
    }
}
