//! Who we are: what the build script and cargo know of this binary.

use serde::Serialize;

/// This binary.
#[derive(Debug, Serialize)]
pub(super) struct Version {
    pub(super) version: &'static str,
    /// The commit it was built from; `unknown` where the builder did not say.
    pub(super) commit: &'static str,
    pub(super) features: Vec<&'static str>,
    pub(super) target: &'static str,
    pub(super) compiler: &'static str,
}

impl Version {
    /// Returns what is known of this binary.
    pub(super) fn own() -> Self {
        let features = [
            ("git", cfg!(feature = "git")),
            ("s3", cfg!(feature = "s3")),
            ("gcs", cfg!(feature = "gcs")),
            ("azure", cfg!(feature = "azure")),
            ("aws", cfg!(feature = "aws")),
            ("google", cfg!(feature = "google")),
        ];
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: env!("YADOKARI_COMMIT"),
            features: features.into_iter().filter(|(_, is_on)| *is_on).map(|(name, _)| name).collect(),
            target: env!("YADOKARI_TARGET"),
            compiler: env!("YADOKARI_COMPILER"),
        }
    }
}
