//! Flags for what a build may take: time, and the network.

use std::time::Duration;

use clap::Args;

use super::values;

/// What a build may take.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// End the build after this time (`90m`, `1h30m`), as SIGTERM would; the exit code then is 124.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub timeout: Option<Duration>,
    /// Use no network: build from local files and OCI layouts, and refuse what would need more.
    ///
    /// What a RUN's own processes do is not looked at.
    #[arg(long)]
    pub offline: bool,
    /// Print the plan and end, as `yadokari plan` does: nothing is built, pushed or written.
    #[arg(long)]
    pub dryrun: bool,
}
