//! Package URLs of images, as BuildKit writes them.
//!
//! Source: <https://github.com/package-url/purl-spec>; <https://github.com/moby/buildkit/blob/master/util/purl/image.go>.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Platform, Reference};

/// What stays as it is: letters, digits, `-`, `.`, `_`, `~` and the colon.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// Returns the package URL of an image of a registry. One that is known by its digest alone has no version.
pub fn image(reference: &Reference, platform: Option<&Platform>) -> String {
    of_type("docker", reference, platform)
}

/// Returns the package URL of an image of an OCI layout, which is no place that others could look at.
pub fn layout(reference: &Reference, platform: Option<&Platform>) -> String {
    of_type("oci", reference, platform)
}

fn of_type(kind: &str, reference: &Reference, platform: Option<&Platform>) -> String {
    let name = reference.name();
    let familiar = name.strip_prefix("docker.io/library/").or(name.strip_prefix("docker.io/")).unwrap_or(&name);
    let version = reference.tag.as_ref().map(|tag| format!("@{}", encoded(tag))).unwrap_or_default();
    let digest = reference.digest.as_ref().map(|digest| format!("digest={}", encoded(digest.as_str())));
    let platform = platform.map(|platform| format!("platform={}", encoded(&platform.to_string())));
    let qualifiers: Vec<String> = digest.into_iter().chain(platform).collect();
    let qualifiers = if qualifiers.is_empty() { String::new() } else { format!("?{}", qualifiers.join("&")) };
    format!("pkg:{kind}/{}{version}{qualifiers}", path(familiar))
}

/// Percent-encodes a path, but for the slashes in it.
fn path(path: &str) -> String {
    path.split('/').map(encoded).collect::<Vec<_>>().join("/")
}

/// Writes a part of a package URL, of whatever type.
pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_named_as_buildkit_names_them() {
        let digest = crate::oci::Digest::of(b"test").to_string();
        let platform: Platform = "linux/arm64".parse().expect("platform");
        for (reference, platform, expected) in [
            ("alpine", None, "pkg:docker/alpine@latest".to_owned()),
            ("library/alpine:3.15", None, "pkg:docker/alpine@3.15".to_owned()),
            ("user/test:v2", None, "pkg:docker/user/test@v2".to_owned()),
            (
                "registry.example.com:5000/team/app:1.0",
                None,
                "pkg:docker/registry.example.com:5000/team/app@1.0".to_owned(),
            ),
            ("busybox", Some(&platform), "pkg:docker/busybox@latest?platform=linux%2Farm64".to_owned()),
        ] {
            assert_eq!(image(&reference.parse().expect(reference), platform), expected);
        }
        let pinned = format!("docker.io/library/alpine@{digest}").parse().expect("reference");
        let expected = format!("pkg:docker/alpine?digest={digest}&platform=linux%2Farm64");
        assert_eq!(image(&pinned, Some(&platform)), expected);
    }
}
