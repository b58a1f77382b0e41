//! Package URLs: one text for a package that scanners and policies know.
//!
//! Source: <https://github.com/package-url/purl-spec>, and its list of types.

use std::fmt::Write as _;

use super::package::{Distribution, Kind, Package};
use crate::oci::purl::encoded;

/// Returns the URL of a package in an image of a distribution.
pub(super) fn purl(package: &Package, distribution: Option<&Distribution>) -> String {
    let Package { kind, name, version, .. } = package;
    let id = distribution.map(|distribution| distribution.id.as_str()).filter(|id| !id.is_empty());
    let (type_name, path) = match kind {
        Kind::Deb => ("deb", vec![id.unwrap_or("debian").to_owned(), name.to_lowercase()]),
        Kind::Apk => ("apk", vec![id.unwrap_or("alpine").to_owned(), name.to_lowercase()]),
        Kind::Rpm => ("rpm", id.map(str::to_owned).into_iter().chain([name.clone()]).collect()),
        Kind::Python => ("pypi", vec![name.to_lowercase().replace('_', "-")]),
        Kind::Npm => ("npm", split(name, '/')),
        Kind::Go => ("golang", split(&name.to_lowercase(), '/')),
        Kind::Cargo => ("cargo", vec![name.clone()]),
        Kind::Maven => ("maven", split(name, ':')),
        Kind::Gem => ("gem", vec![name.clone()]),
        Kind::Composer => ("composer", split(&name.to_lowercase(), '/')),
        Kind::Nuget => ("nuget", vec![name.clone()]),
    };
    let mut url = format!("pkg:{type_name}");
    for part in path {
        url.push('/');
        url.push_str(&encoded(&part));
    }
    // In an rpm's version, the epoch stands before a colon; in the URL it has a place of its own.
    let (epoch, version) = match version.split_once(':').filter(|_| *kind == Kind::Rpm) {
        Some((epoch, version)) => (Some(epoch.to_owned()), version),
        None => (None, version.as_str()),
    };
    if !version.is_empty() {
        url.push('@');
        url.push_str(&encoded(version));
    }
    qualify(&mut url, package, distribution, epoch);
    url
}

/// Adds what else is known, sorted by key.
fn qualify(url: &mut String, package: &Package, distribution: Option<&Distribution>, epoch: Option<String>) {
    let is_of_system = matches!(package.kind, Kind::Deb | Kind::Apk | Kind::Rpm);
    let architecture = match package.kind {
        Kind::Gem => ("platform", package.architecture.clone()),
        _ => ("arch", package.architecture.clone()),
    };
    let distro = distribution.filter(|_| is_of_system).map(|found| match found.version.as_str() {
        "" => found.id.clone(),
        version => format!("{}-{version}", found.id),
    });
    let source = package.source.clone().filter(|_| is_of_system);
    let all = [architecture, ("distro", distro), ("epoch", epoch), ("upstream", source)];
    let known = all.into_iter().filter_map(|(key, value)| Some((key, value.filter(|value| !value.is_empty())?)));
    for (number, (key, value)) in known.enumerate() {
        let separator = if number == 0 { '?' } else { '&' };
        let _ = write!(url, "{separator}{key}={}", encoded(&value));
    }
}

fn split(name: &str, at: char) -> Vec<String> {
    name.split(at).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_manager_has_its_form() {
        let debian = Distribution { id: "debian".into(), version: "12".into(), name: String::new() };
        let deb = Package {
            architecture: Some("amd64".into()),
            source: Some("gcc-12".into()),
            ..Package::new(Kind::Deb, "libstdc++6", "1:12.2.0-14+deb12u1")
        };
        let expected =
            "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12&upstream=gcc-12";
        assert_eq!(purl(&deb, Some(&debian)), expected);
        let rpm = Package::new(Kind::Rpm, "shadow-utils", "2:4.9-8.el9");
        let rocky = Distribution { id: "rocky".into(), version: "9.3".into(), name: String::new() };
        assert_eq!(purl(&rpm, Some(&rocky)), "pkg:rpm/rocky/shadow-utils@4.9-8.el9?distro=rocky-9.3&epoch=2");
        let cases = [
            (Kind::Npm, "@babel/core", "7.1.0", "pkg:npm/%40babel/core@7.1.0"),
            (Kind::Python, "Flask_Login", "0.6", "pkg:pypi/flask-login@0.6"),
            (
                Kind::Go,
                "github.com/Masterminds/semver/v3",
                "v3.2.1",
                "pkg:golang/github.com/masterminds/semver/v3@v3.2.1",
            ),
            (Kind::Maven, "org.slf4j:slf4j-api", "2.0.1", "pkg:maven/org.slf4j/slf4j-api@2.0.1"),
            (Kind::Cargo, "serde", "1.0.1", "pkg:cargo/serde@1.0.1"),
            (Kind::Composer, "Monolog/monolog", "3.1", "pkg:composer/monolog/monolog@3.1"),
            (Kind::Nuget, "Newtonsoft.Json", "13.0.3", "pkg:nuget/Newtonsoft.Json@13.0.3"),
            (Kind::Apk, "musl", "1.2.4-r1", "pkg:apk/alpine/musl@1.2.4-r1"),
            (Kind::Gem, "rake", "", "pkg:gem/rake"),
        ];
        for (kind, name, version, expected) in cases {
            assert_eq!(purl(&Package::new(kind, name, version), None), expected);
        }
    }
}
