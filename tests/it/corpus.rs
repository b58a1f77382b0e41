//! The corpus of Dockerfiles: each case built in each isolation, and compared with the oracle or its golden.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::corpus_cache;
use crate::support::bases;
use crate::support::case::{self, Case};
use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::listing::{self, Listing, difference};
use crate::support::oracle::{self, Verdict};
use crate::support::scratch::{self, Scratch};

/// Defines the tests of capabilities: one for each isolation, over all cases whose name starts with the
/// capability's.
macro_rules! capabilities {
    ($($capability:ident)*) => {
        const CAPABILITIES: &[&str] = &[$(stringify!($capability)),*];
        $(mod $capability {
            use crate::corpus::check_all;
            use crate::support::isolation::Isolation;

            #[test]
            fn namespace() {
                check_all(stringify!($capability), Isolation::Namespace);
            }

            #[test]
            fn container() {
                check_all(stringify!($capability), Isolation::Container);
            }

            #[test]
            fn chroot() {
                check_all(stringify!($capability), Isolation::Chroot);
            }

            #[test]
            fn mediated() {
                check_all(stringify!($capability), Isolation::Mediated);
            }
        })*
    };
}

capabilities! {
    add arg cmd copy entrypoint env error expose from healthcheck ignore label maintainer multistage onbuild run
    shell stopsignal target user volume workdir
}

#[test]
fn every_case_belongs_to_a_capability() {
    let names = case::names();
    assert!(names.len() >= 80, "{} cases", names.len());
    for name in names {
        let capability = name.split('-').next().unwrap_or_default();
        assert!(CAPABILITIES.contains(&capability), "{name} is run by no test");
    }
}

/// The oracle itself: its images are whole, it fails where a case must fail, and a golden stands only where it
/// is still needed.
#[test]
fn oracle_and_goldens_fit() {
    let mut failures = Vec::new();
    for name in case::names().iter().filter(|name| wanted(name)) {
        check(name, "oracle", &mut failures, || oracle_fits(&Case::prepare(name)));
    }
    report(&failures);
}

fn oracle_fits(case: &Case) {
    let golden = case.listing().is_some() || case.config().is_some();
    assert_eq!(
        golden || case.settings.error.is_some(),
        case.settings.differs.is_some() || case.settings.error.is_some(),
        "a golden and the reason for it (`differs`) belong together"
    );
    match (oracle::verdict(case), &case.settings.error) {
        (Verdict::Built { changes, config, .. }, None) => {
            if scratch::variable("YADOKARI_TEST_SHOW").is_some() {
                eprintln!("== {}\n{changes}{config:#}", case.name);
            }
            let same_listing = case.listing().is_none_or(|golden| golden == changes);
            let same_config = case.config().is_none_or(|golden| golden == config);
            assert!(!golden || !same_listing || !same_config, "buildah agrees with the golden: remove it");
        }
        (Verdict::Failed { text, .. }, None) => assert!(golden, "buildah fails: {text}"),
        (Verdict::Failed { .. }, Some(_)) => {}
        (Verdict::Built { .. }, Some(_)) => {
            assert!(case.settings.differs.is_some(), "buildah builds what must fail; `differs` does not say why");
        }
    }
}

/// Checks all cases of a capability and tells all failures at once.
fn check_all(capability: &str, isolation: Isolation) {
    if !isolation.allowed(&format!("corpus {capability}")) {
        return;
    }
    let prefix = format!("{capability}-");
    let mut failures = Vec::new();
    let mut count = 0;
    for name in case::names().iter().filter(|name| name.starts_with(&prefix) && wanted(name)) {
        count += 1;
        check(name, isolation.name(), &mut failures, || {
            let case = Case::prepare(name);
            if case.settings.only.is_empty() || case.settings.only.iter().any(|only| only == isolation.name()) {
                check_case(&case, isolation);
            }
        });
    }
    assert!(count > 0 || scratch::variable("YADOKARI_TEST_CASE").is_some(), "no case of {capability}");
    report(&failures);
}

/// Prepares the build of a case into a layout.
pub(crate) fn executor(case: &Case, isolation: Isolation) -> Executor {
    let mut executor = Executor::new(isolation, case.path());
    executor.only_layout();
    for argument in case.build_args() {
        executor.add(&["--build-arg", &argument]);
    }
    for (name, value) in &case.settings.labels {
        executor.add(&["--label", &format!("{name}={value}")]);
    }
    if let Some(target) = &case.settings.target {
        executor.add(&["--target", target]);
    }
    for argument in &case.settings.arguments {
        executor.add(&[argument]);
    }
    executor
}

fn check_case(case: &Case, isolation: Isolation) {
    let mut executor = executor(case, isolation);
    // A cache must not change what is made; so in one isolation each case is built with one, which costs no further build.
    let cache = (isolation == Isolation::Namespace).then(|| Scratch::new("cache"));
    if let Some(cache) = &cache {
        corpus_cache::fill(&mut executor, cache);
    }
    let build = executor.run();
    if let Some(failure) = &case.settings.error {
        let build = build.expect(failure.exit);
        for text in &failure.texts {
            assert!(build.stderr.contains(text), "the log does not say `{text}`:\n{}", build.stderr);
        }
        assert_eq!(build.result("layout/index.json"), None, "a failed build leaves no image");
        return;
    }
    let build = build.expect(0);
    for text in &case.settings.log {
        assert!(build.stderr.contains(text), "the log does not say `{text}`:\n{}", build.stderr);
    }
    assert_eq!(build.mounts_left(), [""; 0], "mounts left behind");
    let image = build.image();
    image.verify();
    let found = Listing::of(&image);
    compare(case, &image, &found);
    if let Some(expected) = &case.settings.top_layer {
        assert_eq!(&listing::entries(&image, image.layers.len() - 1), expected, "entries of the top layer");
    }
    if let Some(cache) = &cache {
        corpus_cache::check(case, &build, cache);
    }
}

fn compare(case: &Case, image: &crate::support::image::Image, found: &Listing) {
    let verdict = oracle::verdict(case);
    let (expected_changes, expected_config, expected_listing) = match verdict {
        Verdict::Built { changes, config, listing, .. } => (Some(changes), Some(config), Some(listing)),
        Verdict::Failed { .. } => (None, None, None),
    };
    let changes = case.listing().or(expected_changes).expect("a golden where buildah fails");
    let config = case.config().or(expected_config).expect("a golden where buildah fails");
    let found_changes = case.without_ignored(&oracle::changes(case, image, found));
    let changes = case.without_ignored(&changes);
    let found_config = image.runtime_config();
    let files = difference(&changes, &found_changes);
    let pretty = |value| serde_json::to_string_pretty(value).expect("plain data");
    let fields =
        if config == found_config { String::new() } else { difference(&pretty(&config), &pretty(&found_config)) };
    assert!(files.is_empty() && fields.is_empty(), "not as expected:\n{files}{fields}");
    for path in &case.settings.times {
        let line = found.0.get(path).unwrap_or_else(|| panic!("{path} is not there"));
        let expected = expected_listing.as_ref().and_then(|listing| listing.0.get(path)).map(|line| line.modified);
        assert_eq!(Some(line.modified), expected, "modification time of {path}");
    }
    for (path, expected) in &case.settings.modified {
        let found_time = found.0.get(path).map(|line| line.modified);
        assert_eq!(found_time, Some(*expected), "modification time of {path}");
    }
}

/// `YADOKARI_TEST_CASE` limits a run to the cases whose name holds it.
fn wanted(name: &str) -> bool {
    scratch::variable("YADOKARI_TEST_CASE").is_none_or(|part| name.contains(&part))
}

/// Runs one check; what it panics with is added to the failures, so that the other cases are tried too.
fn check(name: &str, place: &str, failures: &mut Vec<String>, body: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(body)) {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_default();
        failures.push(format!("{name} ({place}): {text}"));
    }
}

fn report(failures: &[String]) {
    assert!(failures.is_empty(), "{} cases failed:\n\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn bases_are_whole() {
    let scratch = Scratch::new("bases");
    for name in ["BASE", "BASE_LAYERS", "BASE_CONFIG", "BASE_ONBUILD", "BASE_VOLUME"] {
        let base = bases::base(name);
        let (_, repository) = base.reference.split_once('/').expect("a registry and a name");
        let directory = scratch.directory(name);
        crate::support::registry::shared().pull(repository, &directory);
        let image = crate::support::image::Image::from_layout(&directory);
        image.verify();
        assert_eq!(image.digest, base.digest);
        assert!(Listing::of(&image).0.contains_key("/bin/sh"), "{name}");
    }
}
