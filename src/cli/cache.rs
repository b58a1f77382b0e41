//! `yadokari cache`: what is in a cache, and its collection.

use std::io::Write as _;
use std::sync::Arc;

use serde_json::json;

use super::args::{CacheAction, CacheCommand, CachePlaceArgs};
use super::env::Environment;
use super::exit::{Failure, Kind};
use super::failure::destination_kind;
use super::report::{Report, units};
use super::request::cache_place;
use super::{request, services, work};
use crate::cache::{self, Directory, Listed, Place, Repository, prune};
use crate::progress::{Event, Reporter as _};
use crate::request::part_of;

/// Does what the flags ask for.
pub(super) fn run(command: &CacheCommand, environment: &Environment, report: &Arc<Report>) -> Result<(), Failure> {
    // Lives as long as anything that uses the network.
    let runtime = work::runtime()?;
    match &command.action {
        CacheAction::Ls(args) => {
            let place = open(&args.place, environment, &runtime, report)?;
            print(&place.list().map_err(|error| failure(&error))?, args.json)
        }
        CacheAction::Prune(args) => {
            let limits = request::prune_limits(args, environment)?;
            let place = open(&args.place, environment, &runtime, report)?;
            let pruned = prune(&place, limits, args.dry_run).map_err(|error| failure(&error))?;
            let what = if args.dry_run { "would remove" } else { "removed" };
            let text = format!("{what} {} entries with {}", pruned.entries, units::bytes(pruned.bytes));
            report.report(Event::Note(&text));
            Ok(())
        }
    }
}

fn open(
    args: &CachePlaceArgs,
    environment: &Environment,
    runtime: &tokio::runtime::Runtime,
    report: &Arc<Report>,
) -> Result<Place, Failure> {
    let (place, namespace) = cache_place(args, environment)?;
    if let Some(directory) = &place.directory {
        return Ok(Place::Directory(Directory::new(directory, &namespace)));
    }
    let network = request::registry_network(&args.registry, environment)?;
    let network = cache::Network {
        client: services::client(&network, report.clone())?.1.direct(),
        runtime: runtime.handle().clone(),
        reporter: Arc::clone(report) as Arc<dyn crate::progress::Reporter>,
        is_cancelled: Arc::new(|| false),
        given_up: Arc::default(),
    };
    let repository = place.repository.expect("a place is a directory or a repository");
    Ok(Place::Repository(Repository::new(network, part_of(&repository, &namespace))))
}

fn print(listed: &[Listed], json: bool) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    let time = |seconds: Option<i64>| Some(jiff::Timestamp::from_second(seconds?).ok()?.to_string());
    for entry in listed {
        let (name, size) = (entry.name.to_string(), entry.blob.as_ref().map_or(0, |(_, size)| *size));
        let line = if json {
            let digest = entry.blob.as_ref().map(|(digest, _)| digest);
            let (made, used) = (time(entry.made), time(entry.used));
            json!({ "name": name, "made": made, "used": used, "size": size, "blob": digest, "instruction": entry.text })
                .to_string()
        } else {
            let time = time(entry.used.or(entry.made)).unwrap_or_else(|| "-".to_owned());
            format!("{:<20}  {:>9}  {name:.24}  {}", time, units::bytes(size), entry.text)
        };
        writeln!(output, "{line}").map_err(|error| Failure::from_error(Kind::Output, &error))?;
    }
    if json {
        return Ok(());
    }
    let line = format!("{} entries, {}", listed.len(), units::bytes(cache::size(listed)));
    writeln!(output, "{line}").map_err(|error| Failure::from_error(Kind::Output, &error))
}

fn failure(error: &cache::Error) -> Failure {
    let kind = match error {
        cache::Error::Registry(error) => destination_kind(error),
        cache::Error::Write { .. }
        | cache::Error::Read { .. }
        | cache::Error::Store(_)
        | cache::Error::Refused { .. }
        | cache::Error::Unsealed { .. }
        | cache::Error::Interrupted => Kind::Disk,
    };
    Failure::from_error(kind, error)
}
