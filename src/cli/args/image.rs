//! Flags for what the image looks like.

use clap::Args;

use super::values::CompressionName;

/// What the image looks like.
#[derive(Debug, Args)]
#[command(next_help_heading = "Image")]
pub struct ImageArgs {
    /// Add a label to the image's configuration; may be given many times.
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// Make the same bytes from the same input: all times are 1970-01-01, unless SOURCE_DATE_EPOCH names another one.
    #[arg(long)]
    pub reproducible: bool,
    /// How new layers are compressed: gzip, the default, zstd or none; layers of the base stay as they are.
    #[arg(long, value_name = "NAME")]
    pub compression: Option<CompressionName>,
    /// How hard to compress: 1 to 9 for gzip, 1 to 22 for zstd; -1 and 0 take the default, which is 5 for gzip and 3 for zstd.
    ///
    /// gzip's level 3 makes layers 3 % larger than its usual 6 (0.363 against 0.352 of the original, measured
    /// on a Debian root file system) and is 1.6 times as fast (110 against 70 MB/s a thread); a build
    /// waits for compression more often than for the network.
    #[arg(long, value_name = "LEVEL", default_value_t = -1, allow_negative_numbers = true)]
    pub compression_level: i32,
}
