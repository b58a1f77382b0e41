//! Any bytes, taken as a Dockerfile, as an ONBUILD trigger and as a `.dockerignore`: a value or an error, no panic.
//! A Dockerfile is checked and planned, too, with base images that nothing is known of.

#![no_main]

use libfuzzer_sys::fuzz_target;
use yadokari::dockerfile::expand::Expander;
use yadokari::dockerfile::ignore::Patterns;
use yadokari::dockerfile::lint::{Linted, Place};
use yadokari::dockerfile::{Dockerfile, parse, parse_instruction};
use yadokari::plan::{Base, Bases, Planned, plan};
use yadokari::request::BuildRequest;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(dockerfile) = parse(bytes) {
        let variables = |name: &str| name.starts_with('a').then(|| "value".to_owned());
        for stage in &dockerfile.stages {
            assert!(stage.span.first_line <= stage.span.last_line);
            let _ = Expander::new(dockerfile.directives.escape, &variables).word(stage.from.base.as_str());
        }
        go_on(&dockerfile, bytes);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = parse_instruction(text);
    }
    if let Ok(patterns) = Patterns::parse(bytes) {
        let matched = patterns.matches("some/path/of/a.file");
        let _ = patterns.may_reinclude_below(&matched, "some/path");
    }
});

/// Checks and plans a Dockerfile as far as it goes.
fn go_on(dockerfile: &Dockerfile, bytes: &[u8]) {
    let Ok(options) = dockerfile.check_options(None) else { return };
    let request = BuildRequest::plain();
    let mut bases = Bases::new();
    let mut found = dockerfile.warnings.clone();
    // Each round asks for the images that the one before found.
    while let Ok(planned) = plan(dockerfile, &bases, &request) {
        match planned {
            Planned::Complete(plan) => {
                found.extend(plan.warnings);
                break;
            }
            Planned::Needs(keys) => {
                for (key, _) in keys {
                    let base = Base::unknown(&key.reference, request.platform.clone());
                    assert!(bases.insert(key, base).is_none(), "an image is asked for twice");
                }
            }
        }
    }
    for warning in Linted::of(dockerfile, &found, &options, None).warnings {
        if let Some(place) = Place::of(&warning, bytes) {
            assert!((place.line, place.column) <= (place.end_line, place.end_column));
        }
    }
}
