//! Any bytes, taken as a Dockerfile, as an ONBUILD trigger and as a `.dockerignore`: a value or an error, no panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use yadokari::dockerfile::expand::Expander;
use yadokari::dockerfile::ignore::Patterns;
use yadokari::dockerfile::{parse, parse_instruction};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(dockerfile) = parse(bytes) {
        let variables = |name: &str| name.starts_with('a').then(|| "value".to_owned());
        for stage in &dockerfile.stages {
            assert!(stage.span.first_line <= stage.span.last_line);
            let _ = Expander::new(dockerfile.directives.escape, &variables).word(stage.from.base.as_str());
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = parse_instruction(text);
    }
    if let Ok(patterns) = Patterns::parse(bytes) {
        let matched = patterns.matches("some/path/of/a.file");
        let _ = patterns.may_reinclude_below(&matched, "some/path");
    }
});
