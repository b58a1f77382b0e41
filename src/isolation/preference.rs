//! Where `auto` prefers `mediated` isolation: what it was tried with, and whether it works here.
//!
//! Knows the kernel's version, the processor and the platforms that a build is for. *Invariant: nothing stays on the disk
//! of a trial but the directory that the build's own state directory is made in.*

use std::path::Path;

use crate::oci::Platform;

/// The oldest kernel that `mediated` isolation was tried with.
const OLDEST: (u32, u32) = (6, 1);

/// Why `auto` does not prefer `mediated` isolation, wherever it may be possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Untried {
    /// The kernel is older than all that it was tried with.
    Kernel(String),
    /// The build is for a platform whose programs the kernel executes in other ways.
    Platform(Platform),
}

impl Untried {
    /// Looks at the running kernel and the platforms of a build.
    pub(super) fn find(platforms: &[Platform]) -> Option<Self> {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        if version(&release) < OLDEST {
            return Some(Self::Kernel(release));
        }
        foreign(platforms, &Platform::host()).cloned().map(Self::Platform)
    }

    /// Says so, for the log.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Kernel(release) => format!(
                "mediated isolation was not tried with Linux {release}, but with {}.{} and newer",
                OLDEST.0, OLDEST.1
            ),
            Self::Platform(platform) => {
                format!("mediated isolation executes programs of {} alone, and not of {platform}", Platform::host())
            }
        }
    }
}

/// Finds a platform whose programs are not the machine's own: of another processor, or 32-bit ones.
fn foreign<'a>(platforms: &'a [Platform], host: &Platform) -> Option<&'a Platform> {
    platforms.iter().find(|platform| (&platform.os, &platform.architecture) != (&host.os, &host.architecture))
}

/// Reads major and minor version of a kernel's release; what is missing is zero.
pub(super) fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or_default());
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
}

/// Tells whether `auto` takes `mediated` isolation where namespaces are weak: tried by running a program in it, beside the
/// state directory that the build will have.
///
/// # Errors
/// Why it does not.
#[cfg(target_arch = "x86_64")]
pub(super) fn mediated(platforms: &[Platform], state: &Path) -> Result<(), String> {
    use std::fs;

    use super::directories::files;
    use super::mediated::Mediated;
    use super::{Cancel, HostFiles};

    if let Some(untried) = Untried::find(platforms) {
        return Err(untried.reason());
    }
    // The name is none that another run takes for a dead one's, and `container` isolation leaves it alone.
    let mut name = state.file_name().unwrap_or_default().to_owned();
    name.push("-trial");
    let trial = state.with_file_name(name);
    fs::create_dir_all(&trial).map_err(|error| files("making", &trial)(error).to_string())?;
    let cancel = Cancel::new().map_err(|error| error.to_string());
    let tried = cancel.and_then(|cancel| Mediated::open(&trial, HostFiles::read(), cancel));
    fs::remove_dir(&trial).map_err(|error| files("removing", &trial)(error).to_string())?;
    tried.map(drop)
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn mediated(_: &[Platform], _: &Path) -> Result<(), String> {
    Err("mediated isolation is built for x86-64 alone".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platforms(texts: &[&str]) -> Vec<Platform> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn releases_of_kernels_are_read() {
        for (release, expected) in [
            ("6.1.0-38-amd64", (6, 1)),
            ("5.15.0-1055-aws", (5, 15)),
            ("6.18", (6, 18)),
            ("4.4.0", (4, 4)),
            ("7-rc1", (7, 0)),
            ("", (0, 0)),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
        assert!(version("5.19.17") < OLDEST && version("6.1.0") >= OLDEST && version("10.0") >= OLDEST);
    }

    #[test]
    fn only_programs_of_the_machines_own_kind_are_not_foreign() {
        let host: Platform = "linux/amd64".parse().unwrap();
        for (asked, expected) in [
            (&["linux/amd64"][..], None),
            (&["linux/amd64/v3", "linux/amd64"], None),
            (&["linux/amd64", "linux/386"], Some("linux/386")),
            (&["linux/arm64"], Some("linux/arm64")),
            (&["windows/amd64"], Some("windows/amd64")),
            (&[], None),
        ] {
            let asked = platforms(asked);
            assert_eq!(foreign(&asked, &host).map(ToString::to_string).as_deref(), expected, "{asked:?}");
        }
    }

    #[test]
    fn a_foreign_platform_is_named_in_the_reason() {
        let foreign = if Platform::host().architecture == "arm64" { "linux/amd64" } else { "linux/arm64" };
        let text = Untried::Platform(foreign.parse().unwrap()).reason();
        assert!(text.contains(&format!("not of {foreign}")), "{text}");
        let text = Untried::Kernel("5.15.0".to_owned()).reason();
        assert!(text.contains("Linux 5.15.0, but with 6.1"), "{text}");
    }
}
