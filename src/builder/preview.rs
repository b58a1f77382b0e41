//! A build that is looked at and not carried out: for `check` and `plan`.
//!
//! Goes the way of a build as far as the plan; what an isolation can do is not asked. *Invariant: nothing is run, unpacked,
//! written or pushed, and no layer is fetched; the caches of other builds are only looked at.*

use crate::context;
use crate::dockerfile::lint::Linted;
use crate::dockerfile::{self, Dockerfile};
use crate::oci::Platform;
use crate::plan::{self, Bases, BuildPlan, Extent};
use crate::request::BuildRequest;

use super::bases::{self, Asked, Asking};
use super::forecast::{self, Forecast};
use super::{Error, Failed, Services, epoch, lint};

/// What a check found.
#[derive(Debug)]
pub struct Checked {
    /// The Dockerfile.
    pub dockerfile: context::Dockerfile,
    /// What should be changed.
    pub linted: Linted,
    /// Why it cannot be built, if it cannot.
    pub error: Option<Failed>,
    /// The images that could not be asked for, and why; what depends on them was not judged.
    pub unknown: Vec<(String, Error)>,
}

/// What would be built.
#[derive(Debug)]
pub struct Preview {
    /// The Dockerfile.
    pub dockerfile: context::Dockerfile,
    /// The same, parsed.
    pub parsed: Dockerfile,
    /// What would be done.
    pub plan: BuildPlan,
    /// The images that it starts from.
    pub bases: Bases,
    /// What should be changed.
    pub linted: Linted,
    /// The images that could not be asked for, and why.
    pub unknown: Vec<(String, Error)>,
    /// What the cache has for each step of each stage; no stage where there is no cache.
    pub forecast: Vec<Vec<Option<Forecast>>>,
    /// The values of build arguments that look like secrets: not to be shown.
    pub secrets: Vec<String>,
}

/// Judges a Dockerfile: all of its stages, unless the request names a target.
///
/// # Errors
/// [`Failed`] when there is no Dockerfile or no context; what is wrong with a Dockerfile is no error here.
pub fn check(request: &BuildRequest, services: &Services) -> Result<Checked, Failed> {
    let without = |error| Failed { error, dockerfile: None };
    let context = services.fetch_context(request).map_err(without)?;
    let (file, name) = (&context.dockerfile.text, context.dockerfile.clone());
    let failed = |error| Failed { error, dockerfile: Some(name.clone()) };
    let mut checked = Checked { dockerfile: name.clone(), linted: Linted::default(), error: None, unknown: Vec::new() };
    let (parsed, fault) = dockerfile::parse_until_error(file);
    if let Some(fault) = fault {
        let error = Error::from(fault);
        let linted = lint::judge(&parsed, Err(&error), &context, request).unwrap_or_default();
        return Ok(Checked { linted, error: Some(failed(error)), ..checked });
    }
    let extent = if request.target.is_some() { Extent::Target } else { Extent::All };
    let planned = bases::plan_asking(&parsed, request, services, extent, Asking::Tolerant);
    if services.cancel.is_cancelled() {
        return Err(failed(Error::Interrupted));
    }
    let planned = match planned {
        Ok(Asked { mut plan, unknown, .. }) => {
            checked.unknown = unknown;
            let (missing, error) = lint::missing(&plan, &context).map_err(failed)?;
            plan.warnings.extend(missing);
            checked.error = error.map(failed);
            Ok(plan)
        }
        Err(error) => Err(error),
    };
    match lint::judge(&parsed, planned.as_ref(), &context, request) {
        Ok(linted) => checked.linted = linted,
        Err(error) => checked.error = Some(failed(error)),
    }
    let wrong = planned.err().map(failed);
    checked.error = wrong.or(checked.error);
    Ok(checked)
}

/// Plans what the request asks for, once for each platform.
///
/// # Errors
/// [`Failed`] for whatever a build would find wrong before its first step.
pub fn previews(request: &BuildRequest, services: &Services) -> Result<Vec<Preview>, Failed> {
    let of = |platform: &Platform| preview(&BuildRequest { platform: platform.clone(), ..request.clone() }, services);
    request.platforms.iter().map(of).collect()
}

fn preview(request: &BuildRequest, services: &Services) -> Result<Preview, Failed> {
    let without = |error| Failed { error, dockerfile: None };
    let context = services.fetch_context(request).map_err(without)?;
    let failed = |error| Failed { error, dockerfile: Some(context.dockerfile.clone()) };
    let parsed = lint::parse(&context, request, &*services.reporter).map_err(failed)?;
    let request = &*epoch::settled(request, &parsed, &context, services).map_err(failed)?;
    let asking = if request.offline { Asking::Tolerant } else { Asking::Must };
    let Asked { plan, bases, unknown } =
        bases::plan_asking(&parsed, request, services, Extent::Target, asking).map_err(failed)?;
    super::check_context(&plan, &context).map_err(failed)?;
    let linted = lint::judge(&parsed, Ok(&plan), &context, request).map_err(failed)?;
    lint::refuse(&linted).map_err(failed)?;
    let forecast = forecast::forecast(request, &plan, &bases, &context, services).map_err(failed)?;
    let secrets = request.build_args.iter().filter(|(name, value)| plan::looks_secret(name) && !value.is_empty());
    let secrets = secrets.map(|(_, value)| value.clone()).collect();
    Ok(Preview { dockerfile: context.dockerfile, parsed, plan, bases, linted, unknown, forecast, secrets })
}
