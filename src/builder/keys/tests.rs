//! Steps that mean something else never share a key, and the same said otherwise does.
//!
//! Random Dockerfiles are made as values ([`Line`]), written down in one of many ways, parsed, planned and given keys.
//! What they mean is worked out here once more, from the values alone and without anything of `plan`.

mod fields;
mod model;
mod spelling;

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::*;
use crate::plan::tests::{plan_with, request};
use crate::plan::{Action, Stage, StageBase};

use model::{Line, meanings, model};
use spelling::written;

/// Returns the keys of all steps that have one, stage after stage, as a build finds them; RUN makes a layer that only its
/// key decides.
fn keys_of(text: &str) -> Vec<(&'static str, CacheKey)> {
    let request = request(&[], None);
    let plan = plan_with(text, &request, |_, _| {}).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let settings = Settings::new(&request, Fidelity::Strict);
    let (mut states, mut keys): (Vec<CacheKey>, Vec<_>) = (Vec::new(), Vec::new());
    for stage in &plan.stages {
        let mut state = match &stage.base {
            StageBase::Scratch => base_state(&[], &stage.platform),
            StageBase::Image(key) => {
                Frames::new("state of a base").with(stage.platform.to_string()).list([key.reference.to_string()]).key()
            }
            StageBase::Stage(id) => states[id.0].clone(),
        };
        for step in &stage.steps {
            let source = |from: &CopyFrom, paths: &[&str]| match from {
                CopyFrom::Stage(id) => stage_files(&plan.stages[id.0].name, &states[id.0]),
                // Every file of a context has the same content.
                CopyFrom::Context | CopyFrom::Named(_) | CopyFrom::Image(_) => {
                    Part::new("files", Frames::new("files").list(paths).digest())
                }
            };
            let Some((kind, key)) = key_of(&step.action, stage, &state, &settings, source) else { continue };
            let effect = match &step.action {
                Action::Run(_) => made(Some(&Digest::of(key.hex().as_bytes()))),
                Action::Copy(_) | Action::Workdir(_) | Action::Configure => key.clone(),
            };
            state = state_after(&state, &effect);
            keys.push((kind, key));
        }
        states.push(state);
    }
    keys
}

fn key_of(
    action: &Action,
    stage: &Stage,
    state: &CacheKey,
    settings: &Settings,
    source: impl Fn(&CopyFrom, &[&str]) -> Part,
) -> Option<(&'static str, CacheKey)> {
    let begin = |kind, apart: bool| start(kind, &stage.platform, (!apart).then_some(("what was before", state)));
    let (kind, parts) = match action {
        Action::Configure => return None,
        Action::Workdir(step) => ("WORKDIR", workdir(begin("workdir", false), step, settings)),
        Action::Run(step) => {
            let shown = step.mounts.iter().map(|mount| match &mount.what {
                Mounted::Bind { from, source: path, .. } => Some(source(from, &[path])),
                _ => None,
            });
            ("RUN", run(begin("run", false), step, &shown.collect::<Vec<_>>(), settings))
        }
        Action::Copy(step) => {
            let paths = step.sources.iter().map(|source| match source {
                CopySource::Path(path) => path.as_str(),
                _ => "",
            });
            let source = source(&step.from, &paths.collect::<Vec<_>>());
            ("COPY", copy(begin("copy", is_apart(step)), step, &[Some(source)], settings))
        }
    };
    Some((kind, parts.key()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The heart of the cache: a key is shared exactly by steps that mean the same.
    #[test]
    fn keys_are_shared_by_steps_that_mean_the_same_and_no_others(
        one in model(),
        changed in model(),
        take in proptest::collection::vec(any::<bool>(), 16),
        spellings in any::<(u64, u64)>(),
    ) {
        // Mostly alike, so that the same and nearly the same are common.
        let other = one.mixed(&changed, &take);
        let mut known: HashMap<String, (CacheKey, String)> = HashMap::new();
        let mut owners: HashMap<CacheKey, (String, String)> = HashMap::new();
        for (model, spelling) in [(&one, spellings.0), (&other, spellings.1)] {
            let text = written(model, spelling);
            let (keys, meanings) = (keys_of(&text), meanings(model));
            prop_assert_eq!(keys.len(), meanings.len(), "{}", text);
            for ((kind, key), meaning) in keys.into_iter().zip(meanings) {
                prop_assert!(meaning.starts_with(kind), "{} is {}", kind, meaning);
                let (first, where_first) = known.entry(meaning.clone()).or_insert((key.clone(), text.clone()));
                prop_assert_eq!(&*first, &key, "two keys of {} in\n{}\nand\n{}", meaning, where_first, &text);
                let (owner, where_owned) = owners.entry(key).or_insert((meaning.clone(), text.clone()));
                prop_assert_eq!(&*owner, &meaning, "one key for two meanings in\n{}\nand\n{}", where_owned, &text);
            }
        }
    }
}

/// The models reach what they are for: without that, the property above would say nothing.
#[test]
fn random_models_have_what_matters() {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..200 {
        let model = model().new_tree(&mut runner).expect("a model").current();
        for line in model.first.iter().chain(&model.second) {
            *seen.entry(line.kind()).or_default() += 1;
        }
    }
    for kind in Line::KINDS {
        assert!(seen.get(kind).is_some_and(|count| *count > 20), "{kind}: {seen:?}");
    }
}
