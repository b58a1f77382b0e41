//! `yadokari diff`: what differs between two images, on standard output.

mod text;

use std::sync::Arc;

use serde::Serialize;

use super::args::{DiffArgs, FormatName, IgnoreName};
use super::env::Environment;
use super::exit::{Failure, Kind};
use super::named::{Images, platform};
use super::report::Report;
use super::work::{print, wait};
use super::{request, services, shown};
use crate::inspect::{self, Area, Diff, Options};

/// Compares two images, and tells.
pub(super) fn run(args: &DiffArgs, environment: &Environment, report: &Arc<Report>) -> Result<(), Failure> {
    if args.a == "-" && args.b == "-" {
        return Err(Failure::new(Kind::Usage, "only one of the images can be on standard input"));
    }
    let options = Options { platform: platform(args.platform.as_deref())?, ignored: ignored(&args.ignore) };
    let network = request::registry_network(&args.registry, environment)?;
    let (_, client) = services::client(&network, report.clone())?;
    let mut images = Images::new(client, environment, args.state_dir.as_deref());
    let diff = wait(async {
        let (a, b) = (images.open(&args.a).await?, images.open(&args.b).await?);
        Ok(inspect::diff(&a, &b, &options).await?)
    })?;
    let verdict = verdict(&diff);
    print(&match args.format {
        FormatName::Text => text::render(&diff, &verdict),
        FormatName::Json => shown::json(&Told { equal: diff.areas().is_empty(), verdict: &verdict, diff: &diff })?,
    })?;
    if diff.areas().is_empty() { Ok(()) } else { Err(Failure::new(Kind::Differs, verdict)) }
}

/// A difference, and what it comes to.
#[derive(Serialize)]
struct Told<'a> {
    equal: bool,
    verdict: &'a str,
    #[serde(flatten)]
    diff: &'a Diff,
}

/// Says in one line what differs.
fn verdict(diff: &Diff) -> String {
    of_areas("the images", diff.areas().into_iter().map(Area::described).collect(), diff.a.digest == diff.b.digest)
}

fn of_areas(what: &str, mut areas: Vec<&str>, same: bool) -> String {
    areas.sort_unstable();
    areas.dedup();
    match &areas[..] {
        [] if same => format!("{what} are the same"),
        [] => format!("{what} are equal in all that counts"),
        [one] => format!("{what} differ: only {one}"),
        [first @ .., last] => format!("{what} differ: {} and {last}", first.join(", ")),
    }
}

fn ignored(names: &[IgnoreName]) -> inspect::Ignored {
    let areas = names.iter().flat_map(|name| match name {
        IgnoreName::Timestamps => &[Area::Mtime, Area::Created][..],
        IgnoreName::Mtime => &[Area::Mtime],
        IgnoreName::Created => &[Area::Created],
        IgnoreName::Mode => &[Area::Mode],
        IgnoreName::Owner => &[Area::Owner],
        IgnoreName::Xattrs => &[Area::Xattrs],
        IgnoreName::History => &[Area::History],
        IgnoreName::Annotations => &[Area::Annotations],
        IgnoreName::Labels => &[Area::Labels],
        IgnoreName::Compression => &[Area::Compression],
        IgnoreName::Order => &[Area::Order],
        IgnoreName::Layers => &[Area::Layers],
    });
    areas.copied().collect()
}
