//! Flags for the cache.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{UsageError, Warning, absolute, context};
use crate::cache::Limits;
use crate::cli::args::{Args, CacheModeName, CachePlaceArgs, CachePruneArgs, CacheSwitch};
use crate::cli::env::Environment;
use crate::oci::Reference;
use crate::request::{CacheRequest, CachedSteps, SecretSource};

/// The variable with the key that entries are sealed with.
const KEY: &str = "YADOKARI_CACHE_KEY";
/// How `--cache-repo` names a directory.
const DIRECTORY: &str = "oci:";
/// The part of `--cache-dir` that layers are in; base images are beside it.
const LAYERS: &str = "layers";
/// Where base images are that kaniko's warmer brought, unless `--cache-dir` says otherwise.
const BASE_IMAGES: &str = "/cache";

/// Reads the flags of a build; `destinations` are those that it pushes to.
pub(super) fn cache(
    args: &Args,
    destinations: &[Reference],
    environment: &Environment,
) -> Result<CacheRequest, UsageError> {
    let given = &args.cache;
    let mut place = Place::default();
    if is_on(args) {
        place = Place::new(args.bases.cache_dir.as_deref(), given.cache_repo.as_deref(), environment)?;
        if given.cache_repo.as_deref().is_none_or(str::is_empty) {
            place.repository = destinations.first().map(default_repository);
        }
        if place.directory.is_none() && place.repository.is_none() {
            let message =
                "--cache needs a place: a --cache-repo or a --cache-dir; with --no-push there is none by itself";
            return Err(UsageError::Missing { message });
        }
    }
    let images = given.cache_from.iter().filter(|text| !text.is_empty());
    Ok(CacheRequest {
        directory: place.directory,
        repository: place.repository,
        images: images.map(|text| reference("--cache-from", text)).collect::<Result<_, _>>()?,
        namespace: namespace(given.cache_namespace.as_deref())?,
        key: key(args, environment)?,
        writes: given.cache_mode == CacheModeName::Rw && !given.no_push_cache,
        ttl: seconds(given.cache_ttl),
        now: environment.moment.now,
        steps: CachedSteps { runs: given.cache_run_layers, copies: given.cache_copy_layers },
        inline: given.cache_inline,
        print_key: given.print_build_key,
        skip_existing: given.skip_existing,
    })
}

/// Tells whether steps are cached: `auto` does so where a place for them is given.
fn is_on(args: &Args) -> bool {
    let has_directory = args.bases.cache_dir.as_deref().is_some_and(|path| !path.as_os_str().is_empty());
    let has_repository = args.cache.cache_repo.as_deref().is_some_and(|text| !text.is_empty());
    match args.cache.cache {
        CacheSwitch::Off => false,
        CacheSwitch::On => true,
        CacheSwitch::Auto => has_directory || has_repository,
    }
}

/// Returns where the key of the cache is; a flag goes before the variable.
fn key(args: &Args, environment: &Environment) -> Result<Option<SecretSource>, UsageError> {
    let file = args.cache.cache_key_file.as_deref().filter(|path| !path.as_os_str().is_empty());
    if let Some(file) = file {
        return Ok(Some(SecretSource::File(absolute(file, &environment.directories.working))));
    }
    Ok(environment.value(KEY)?.map(|key| SecretSource::Value(key.to_owned())))
}

/// Tells of a cache that other flags leave without any effect.
pub(super) fn unused(args: &Args) -> Option<Warning> {
    let given = &args.cache;
    let asked = [("--cache", is_on(args)), ("--cache-inline", given.cache_inline)];
    let (flag, _) = asked.into_iter().find(|(_, is_given)| *is_given)?;
    let message = if args.build.single_snapshot {
        format!("{flag} does nothing with --single-snapshot: one layer for all steps is the result of none of them")
    } else if !given.cache_run_layers && !given.cache_copy_layers {
        format!("{flag} finds no step: --cache-run-layers and --cache-copy-layers are both off")
    } else {
        return None;
    };
    Some(Warning { rule: "UnusedCache", message })
}

/// Returns the directory with base images: a warmer's own default where none is given.
pub(super) fn base_images(args: &Args, environment: &Environment) -> PathBuf {
    let given = args.bases.cache_dir.as_deref().filter(|path| !path.as_os_str().is_empty());
    absolute(given.unwrap_or(Path::new(BASE_IMAGES)), &environment.directories.working)
}

pub(super) fn base_policy(args: &Args, environment: &Environment) -> Option<PathBuf> {
    let given = args.trust.verify_base.as_deref().filter(|path| !path.as_os_str().is_empty());
    given.map(|path| absolute(path, &environment.directories.working))
}

/// Where a cache is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Place {
    /// The directory of layers.
    pub(in crate::cli) directory: Option<PathBuf>,
    /// The repository.
    pub(in crate::cli) repository: Option<Reference>,
}

impl Place {
    fn new(directory: Option<&Path>, repository: Option<&str>, environment: &Environment) -> Result<Self, UsageError> {
        let working = &environment.directories.working;
        let directory = directory.filter(|path| !path.as_os_str().is_empty());
        let directory = directory.map(|path| absolute(&path.join(LAYERS), working));
        let Some(given) = repository.filter(|text| !text.is_empty()) else {
            return Ok(Self { directory, repository: None });
        };
        let Some(path) = given.strip_prefix(DIRECTORY) else {
            return Ok(Self { directory, repository: Some(reference("--cache-repo", given)?) });
        };
        // Base images are in --cache-dir all the same.
        if path.is_empty() {
            let reason = "write oci: and a directory".to_owned();
            return Err(UsageError::Value { flag: "--cache-repo", value: given.to_owned(), reason });
        }
        Ok(Self { directory: Some(absolute(Path::new(path), working)), repository: None })
    }
}

/// Reads the flags of `yadokari cache`: exactly one place, and the part of it.
pub(in crate::cli) fn cache_place(
    args: &CachePlaceArgs,
    environment: &Environment,
) -> Result<(Place, Vec<String>), UsageError> {
    let [directory, repository] = [args.cache_dir.is_some(), args.cache_repo.is_some()];
    if directory && repository {
        let reason = "they are two caches; give one of them".to_owned();
        return Err(UsageError::Conflict { first: "--cache-repo", second: "--cache-dir", reason });
    }
    let place = Place::new(args.cache_dir.as_deref(), args.cache_repo.as_deref(), environment)?;
    match (&place.directory, &place.repository) {
        (Some(_), None) | (None, Some(_)) => Ok((place, namespace(args.cache_namespace.as_deref())?)),
        (None, None) | (Some(_), Some(_)) => {
            Err(UsageError::Missing { message: "which cache: give a --cache-dir or a --cache-repo, one of them" })
        }
    }
}

/// Reads what `yadokari cache prune` leaves.
pub(in crate::cli) fn prune_limits(args: &CachePruneArgs, environment: &Environment) -> Result<Limits, UsageError> {
    if args.older_than.is_none() && args.max_size.is_none() {
        return Err(UsageError::Missing { message: "what may go: give --older-than, --max-size, or both" });
    }
    let now = environment.moment.now;
    Ok(Limits {
        now,
        oldest: args.older_than.map_or(i64::MIN, |age| now.saturating_sub(seconds(age))),
        largest: args.max_size.as_deref().map_or(Ok(u64::MAX), |size| context::size("--max-size", size))?,
    })
}

/// Returns the repository that kaniko takes where none is given.
fn default_repository(destination: &Reference) -> Reference {
    Reference { repository: format!("{}/cache", destination.repository), ..destination.clone() }
}

pub(super) fn reference(flag: &'static str, text: &str) -> Result<Reference, UsageError> {
    let error =
        |error: crate::oci::ReferenceError| UsageError::Value { flag, value: text.to_owned(), reason: error.reason };
    text.parse().map_err(error)
}

/// Reads a namespace. Its parts become parts of a repository's name.
fn namespace(given: Option<&str>) -> Result<Vec<String>, UsageError> {
    let Some(given) = given.filter(|text| !text.is_empty()) else { return Ok(Vec::new()) };
    if format!("registry.example/{given}/x").parse::<Reference>().is_err() || given.contains([':', '@']) {
        let reason =
            "write lower-case letters and digits, with `.`, `_` or `-` between them, and slashes between names";
        let (value, reason) = (given.to_owned(), reason.to_owned());
        return Err(UsageError::Value { flag: "--cache-namespace", value, reason });
    }
    Ok(given.split('/').map(str::to_owned).collect())
}

pub(in crate::cli) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{refused, resolved};
    use super::*;

    fn of(words: &[&str]) -> CacheRequest {
        resolved(words, &[]).request.cache
    }

    #[test]
    fn the_repository_is_kanikos_unless_there_is_another() {
        let name = |cache: &CacheRequest| cache.repository.as_ref().map(Reference::name);
        let cache = of(&["--cache", "-d", "r.io/a/b:1", "-d", "q.io/c"]);
        assert_eq!((name(&cache).as_deref(), &cache.directory), (Some("r.io/a/b/cache"), &None));
        let cache = of(&["--cache", "-d", "r.io/a", "--cache-dir=/c", "--cache-repo=r.io/x"]);
        assert_eq!(name(&cache).as_deref(), Some("r.io/x"));
        assert_eq!(cache.directory, Some("/c/layers".into()));
        let cache = of(&["--cache", "--no-push", "--cache-repo=oci:c"]);
        assert_eq!((name(&cache), cache.directory), (None, Some("/work/c".into())));
        assert!(!of(&["-d", "r.io/a", "--cache-repo=r.io/x", "--cache-dir=/c"]).is_on(), "only --cache switches it on");
        let cache = of(&["--cache", "--no-push", "--cache-repo=oci:/c/layers", "--cache-dir=/c"]);
        assert_eq!(cache.directory, Some("/c/layers".into()), "the directory is for base images then");
        let automatic = |words: &[&str]| of(&[&["--no-push", "--cache=auto"], words].concat()).is_on();
        assert_eq!(
            [
                &[][..],
                &["--cache-dir="],
                &["--cache-dir=/c"],
                &["--cache-repo=r.io/x"],
                &["--cache=false", "--cache-dir=/c"]
            ]
            .map(automatic),
            [false, false, true, true, false]
        );
    }

    #[test]
    fn what_makes_no_cache_is_refused() {
        for (words, text) in [
            (&["--cache", "--no-push"][..], "--cache needs a place"),
            (&["--cache", "--no-push", "-d", "r.io/a"][..], "--cache needs a place"),
            (&["--cache", "--no-push", "--cache-repo=oci:"][..], "write oci: and a directory"),
            (&["--cache", "--no-push", "--cache-repo=R"][..], "--cache-repo cannot be `R`"),
            (&["--no-push", "--cache-namespace=Feature/1"][..], "lower-case"),
            (&["--no-push", "--cache-namespace=a//b"][..], "lower-case"),
            (&["--no-push", "--cache-namespace=.."][..], "lower-case"),
            (&["--no-push", "--cache-namespace=a:b"][..], "lower-case"),
        ] {
            let message = refused(words, &[]);
            assert!(message.contains(text), "{words:?}: {message}");
        }
    }
}
