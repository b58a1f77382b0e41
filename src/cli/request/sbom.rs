//! Whether it is told what is installed in the image, and where that is written.

use std::path::{Path, PathBuf};

use super::UsageError;
use crate::cli::args::{SbomArgs, SbomName};
use crate::oci::Platform;
use crate::request::SbomForm;

/// Returns the form that is asked for.
pub(super) fn form(args: &SbomArgs) -> Result<Option<SbomForm>, UsageError> {
    let form = match args.sbom {
        SbomName::Off => None,
        SbomName::Spdx => Some(SbomForm::Spdx),
        SbomName::Cyclonedx => Some(SbomForm::CycloneDx),
    };
    let path = args.sbom_path.as_ref().filter(|path| !path.as_os_str().is_empty());
    match (form, path) {
        (None, Some(_)) => Err(UsageError::Missing { message: "--sbom-path needs --sbom=spdx or --sbom=cyclonedx" }),
        (Some(_), None) if !args.sbom_attach => {
            let message = "--sbom-attach=false needs --sbom-path, where the document is written";
            Err(UsageError::Missing { message })
        }
        _ => Ok(form),
    }
}

/// Returns the files of all platforms: the one that is named, or, where there are several, one for each.
pub(super) fn files(path: Option<PathBuf>, platforms: &[Platform]) -> Vec<PathBuf> {
    match path {
        Some(path) if platforms.len() > 1 => platforms.iter().map(|platform| of_platform(&path, platform)).collect(),
        path => path.into_iter().collect(),
    }
}

/// Puts the platform before the ending of a file's name.
fn of_platform(path: &Path, platform: &Platform) -> PathBuf {
    let platform = platform.to_string().replace('/', "-");
    match path.extension() {
        Some(ending) => path.with_extension(format!("{platform}.{}", ending.to_string_lossy())),
        None => path.with_extension(platform),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_platform_has_a_file() {
        let platforms = ["linux/amd64", "linux/arm/v7"].map(|text| text.parse().expect("platform"));
        let of = |path: &str, platforms: &[Platform]| files(Some(path.into()), platforms);
        assert_eq!(of("/a/b.json", &platforms[..1]), [PathBuf::from("/a/b.json")]);
        assert_eq!(of("/a/b.json", &platforms), ["/a/b.linux-amd64.json", "/a/b.linux-arm-v7.json"].map(PathBuf::from));
        assert_eq!(of("/a/b", &platforms)[1], PathBuf::from("/a/b.linux-arm-v7"));
        assert!(files(None, &platforms).is_empty());
    }
}
