//! Platforms, `os[(version+feature…)]/architecture[/variant]`, and which image of an index serves one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system and a processor, in Go's words.
///
/// Source: OCI image-spec, image-index.md `platform`; the normal forms are containerd's
/// (<https://github.com/containerd/platforms>).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// The processor, `amd64`, `arm64` …
    pub architecture: String,
    /// The operating system, `linux` …
    pub os: String,
    /// The operating system's version (Windows only).
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features of the operating system that are needed (Windows only).
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// The processor's variant, `v7`, `v8` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// The systems that may be named alone. Source: containerd's `platforms` package, `database.go`; and WebAssembly's.
const SYSTEMS: [&str; 19] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasi",
    "wasip1",
    "windows",
    "zos",
];

/// The processors that may be named alone; same source.
const PROCESSORS: [&str; 24] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "arm64",
    "arm64be",
    "armbe",
    "loong64",
    "mips",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "mipsle",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

/// A text that names no platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a platform: write os/architecture or os/architecture/variant, for example linux/arm64")]
pub struct PlatformError {
    /// The text as it was given.
    pub text: String,
}

impl Platform {
    /// Returns the platform that this executor was compiled for.
    pub fn host() -> Self {
        let (architecture, variant) = normal(std::env::consts::ARCH, None);
        Self { architecture, os: std::env::consts::OS.to_owned(), os_version: None, os_features: Vec::new(), variant }
    }

    /// Returns the platform of an image that is based on one for `base`: that one, in its normal form, but for what was
    /// asked for. What is asked for and says nothing of the variant, the version or the features leaves these as they
    /// are where system and processor stay the same.
    ///
    /// Source: BuildKit, `frontend/dockerfile/dockerfile2llb`.
    #[must_use]
    pub fn of_image(base: &Self, asked: Option<&Self>) -> Self {
        let Some(asked) = asked else {
            let (architecture, variant) = normal(&base.architecture, base.variant.as_deref());
            return Self { architecture, variant, ..base.clone() };
        };
        let same = asked.os == base.os && asked.architecture == normal(&base.architecture, None).0;
        let kept = Self {
            architecture: asked.architecture.clone(),
            os: asked.os.clone(),
            os_version: asked.os_version.clone().or_else(|| base.os_version.clone().filter(|_| same)),
            os_features: if asked.os_features.is_empty() {
                base.os_features.clone()
            } else {
                asked.os_features.clone()
            },
            variant: asked.variant.clone().or_else(|| base.variant.clone().filter(|_| same)),
        };
        Self::of_image(&kept, None)
    }

    /// Tells whether its programs expect the file systems and command lines of Windows.
    pub fn is_windows(&self) -> bool {
        self.os == "windows"
    }

    /// Tells whether an image for `image` serves a request for `self`: the same system and processor, and
    /// the same variant after both are brought to their normal form (`arm64` is `arm64/v8`, `arm` is `arm/v7`), and the
    /// version and features that are asked for, if any.
    pub fn is_served_by(&self, image: &Self) -> bool {
        let wanted = normal(&self.architecture, self.variant.as_deref());
        let offered = normal(&image.architecture, image.variant.as_deref());
        let has_version = self.os_version.is_none() || self.os_version == image.os_version;
        let has_features = self.os_features.iter().all(|feature| image.os_features.contains(feature));
        self.os == image.os && wanted == offered && has_version && has_features
    }
}

/// Brings the many names of a processor to one.
fn normal(architecture: &str, variant: Option<&str>) -> (String, Option<String>) {
    let variant = variant.filter(|v| !v.is_empty());
    let (architecture, variant) = match (architecture, variant) {
        ("x86_64" | "x86-64", v) => ("amd64", v),
        ("i386" | "x86", v) => ("386", v),
        ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64", None),
        ("aarch64", v) => ("arm64", v),
        ("armhf", _) => ("arm", Some("v7")),
        ("armel", _) => ("arm", Some("v6")),
        ("arm", None | Some("7")) => ("arm", Some("v7")),
        ("arm", Some("5")) => ("arm", Some("v5")),
        ("arm", Some("6")) => ("arm", Some("v6")),
        ("arm", Some("8")) => ("arm", Some("v8")),
        ("amd64", Some("v1")) => ("amd64", None),
        ("powerpc64le", v) => ("ppc64le", v),
        (other, v) => (other, v),
    };
    (architecture.to_owned(), variant.map(str::to_owned))
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.os)?;
        if self.os_version.is_some() || !self.os_features.is_empty() {
            let version = self.os_version.iter().chain(&self.os_features).map(String::as_str);
            let plus = if self.os_version.is_none() { "+" } else { "" };
            write!(f, "({plus}{})", version.collect::<Vec<_>>().join("+"))?;
        }
        write!(f, "/{}", self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let error = || PlatformError { text: text.to_owned() };
        let is_word =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        let mut parts: Vec<&str> = text.split('/').collect();
        let (mut os_version, mut os_features) = (None, Vec::new());
        if let Some((os, in_brackets)) = parts.first().and_then(|first| first.strip_suffix(')')?.split_once('(')) {
            let mut words = in_brackets.split('+');
            os_version = words.next().filter(|version| !version.is_empty()).map(str::to_owned);
            os_features = words.map(str::to_owned).collect();
            if !os_version.iter().chain(&os_features).all(|word| is_word(word)) {
                return Err(error());
            }
            parts[0] = os;
        }
        if !parts.iter().all(|part| is_word(part)) {
            return Err(error());
        }
        let (os, architecture, variant) = match parts[..] {
            [os] if SYSTEMS.contains(&os) => (os, std::env::consts::ARCH, None),
            [architecture] if PROCESSORS.contains(&normal(&architecture.to_lowercase(), None).0.as_str()) => {
                ("linux", architecture, None)
            }
            [_] => return Err(error()),
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(error()),
        };
        let (architecture, variant) = normal(&architecture.to_lowercase(), variant);
        Ok(Self { architecture, os: os.to_lowercase(), os_version, os_features, variant })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_many_names_of_a_processor_are_one() {
        for (text, normal) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("arm64", "linux/arm64"),
            ("linux/arm/v6", "linux/arm/v6"),
        ] {
            assert_eq!(text.parse::<Platform>().expect(text).to_string(), normal);
        }
    }

    #[test]
    fn a_version_and_features_stand_in_brackets() {
        for text in
            ["windows(10.0.17763)/amd64", "linux(+gpu)/amd64", "windows(10.0.20348.1+win32k+x)/arm64", "linux/arm/v6"]
        {
            assert_eq!(platform(text).to_string(), text);
        }
        let wanted = platform("windows(10.0.17763)/amd64");
        assert_eq!((wanted.os.as_str(), wanted.os_version.as_deref()), ("windows", Some("10.0.17763")));
        assert!(wanted.is_served_by(&wanted) && !wanted.is_served_by(&platform("windows(10.0.20348)/amd64")));
        assert!(platform("windows/amd64").is_served_by(&wanted));
        for bad in ["windows(10/amd64", "windows(1 0)/amd64", "(1)/amd64", "linux(+)/amd64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad:?} parsed");
        }
    }

    #[test]
    fn an_image_is_for_what_its_base_is_for_unless_asked_otherwise() {
        for (base, asked, expected) in [
            ("linux/arm64", None, "linux/arm64"),
            ("linux/arm/v6", None, "linux/arm/v6"),
            ("windows(10.0.17763)/amd64", None, "windows(10.0.17763)/amd64"),
            ("linux/arm64", Some("linux/amd64"), "linux/amd64"),
            ("linux/amd64/v3", Some("linux/amd64"), "linux/amd64/v3"),
            ("linux/arm/v6", Some("linux/amd64"), "linux/amd64"),
            ("linux/amd64", Some("linux/amd64/v2"), "linux/amd64/v2"),
            ("windows(10.0.17763)/amd64", Some("windows/amd64"), "windows(10.0.17763)/amd64"),
            ("windows(10.0.17763)/amd64", Some("linux/amd64"), "linux/amd64"),
        ] {
            let asked = asked.map(platform);
            assert_eq!(Platform::of_image(&platform(base), asked.as_ref()).to_string(), expected, "{base}");
        }
        let long = Platform { architecture: "aarch64".into(), variant: Some("v8".into()), ..platform("linux/amd64") };
        assert_eq!(Platform::of_image(&long, None), platform("linux/arm64"));
    }

    #[test]
    fn an_index_entry_with_variant_v8_serves_arm64() {
        let entry = Platform { variant: Some("v8".into()), ..platform("linux/arm64") };
        assert!(platform("linux/arm64").is_served_by(&entry));
        assert!(!platform("linux/arm64").is_served_by(&platform("linux/amd64")));
        assert!(!platform("linux/arm/v6").is_served_by(&platform("linux/arm/v7")));
    }

    #[test]
    fn what_is_no_platform_is_refused() {
        for bad in ["bogus", "", "/", "linux/", "linux/amd64/v1/x", "linux/am d64", "//"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad:?} parsed");
        }
    }

    fn platform(text: &str) -> Platform {
        text.parse().expect(text)
    }
}
