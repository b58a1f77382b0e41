//! `yadokari plan`: from flags to a plan on standard output.
//!
//! *Invariant: both forms are made of one [`View`], and no value that looks like a secret is in it.*

mod text;
mod view;

use std::sync::Arc;

use super::args::{FormatName, PlanArgs};
use super::env::Environment;
use super::exit::Failure;
use super::report::Report;
use super::{preview, work};
use crate::builder::{self, Preview};
use crate::dockerfile::Span;
use crate::progress::{Event, Reporter as _};
use view::View;

/// Plans and tells about it.
pub(super) fn run(args: &PlanArgs, environment: &Environment, report: &Arc<Report>) -> Result<(), Failure> {
    let previews = preview::look(&args.build, environment, report, builder::previews)?;
    for preview in &previews {
        tell(preview, report);
    }
    let views = previews.iter().map(View::of);
    let texts: Vec<String> = match args.format {
        FormatName::Text => views.map(|view| text::render(&view)).collect(),
        FormatName::Json => views.map(|view| view.to_json()).collect(),
    };
    work::print(&texts.concat())
}

fn tell(preview: &Preview, report: &Report) {
    preview::tell_unknown(&preview.unknown, report);
    for warning in &preview.linted.warnings {
        let line = (warning.span != Span::default()).then_some(warning.span.first_line);
        report.report(Event::Warning { rule: warning.rule.name(), line, message: &warning.message });
    }
}
