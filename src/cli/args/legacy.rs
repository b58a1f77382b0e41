//! Flags of kaniko's that have nothing left to do here: what they switch on is always so, or what they mend does not
//! happen. They are taken, and a note says why they do nothing.

use clap::Args;

use super::values;

/// Flags that do nothing.
#[derive(Debug, Args)]
pub struct LegacyArgs {
    /// Does nothing: layers never stay in memory, compressed or not.
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_name = "BOOL", value_parser = values::boolean)]
    pub compressed_caching: Option<bool>,
    /// Does nothing: metadata instructions of the stages that are built always count.
    #[arg(long, hide = true)]
    pub force_build_metadata: bool,
    /// Does nothing: an unpacking that breaks off goes on where it was.
    #[arg(long, hide = true, value_name = "NUMBER")]
    pub image_fs_extract_retry: Option<u32>,
    /// Does nothing: the container's own files are never part of a build.
    #[arg(long, hide = true)]
    pub pre_cleanup: bool,
    /// Does nothing: the container's own files are always kept, and put back after the build.
    #[arg(long, hide = true)]
    pub preserve_context: bool,
    /// Does nothing: stages that the target does not need are never built.
    #[arg(long, hide = true)]
    pub skip_unused_stages: bool,
    /// Does nothing: what RUN changed is always found by comparing metadata.
    #[arg(long, hide = true)]
    pub use_new_run: bool,
}

impl LegacyArgs {
    /// Lists the flags that were given, each with the reason why it does nothing.
    pub(in crate::cli) fn given(&self) -> Vec<(&'static str, &'static str)> {
        let rows = [
            (self.compressed_caching.is_some(), "--compressed-caching", "layers never stay in memory"),
            (
                self.force_build_metadata,
                "--force-build-metadata",
                "metadata instructions of the stages that are built always count",
            ),
            (
                self.image_fs_extract_retry.is_some(),
                "--image-fs-extract-retry",
                "a download that breaks off goes on where it was",
            ),
            (self.pre_cleanup, "--pre-cleanup", "the container's own files are never part of a build"),
            (self.preserve_context, "--preserve-context", "the container's own files are always put back"),
            (self.skip_unused_stages, "--skip-unused-stages", "stages that nobody needs are never built"),
            (self.use_new_run, "--use-new-run", "what RUN changed is always found by comparing metadata"),
        ];
        rows.into_iter().filter(|(given, ..)| *given).map(|(_, flag, reason)| (flag, reason)).collect()
    }
}
