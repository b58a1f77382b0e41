//! Which stages the target needs, what each is based on, and which images must be known first.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::dockerfile::{self, Dockerfile, Instruction, Located, Span, suggest};
use crate::oci::{Platform, Reference};
use crate::request::{BuildRequest, NamedContext};

use super::variables::Variables;
use super::{BaseKey, Bases, CopyFrom, Error, ErrorReason, StageBase, StageId};

/// Stands for the registry of an image that is in a layout on this machine.
const LAYOUT: &str = "oci-layout";

/// Which stages are planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The target and what it needs.
    Target,
    /// All of them, the last one of the Dockerfile last; the target does not matter.
    All,
}

/// The stages that are needed, in the order of the Dockerfile.
pub(super) struct Graph<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    /// The stage that becomes the image.
    pub(super) target: StageId,
}

/// A stage and what it is connected to.
pub(super) struct Node<'a> {
    /// The stage as parsed.
    pub(super) stage: &'a dockerfile::Stage,
    /// Its name, or its number as text.
    pub(super) name: String,
    pub(super) base: StageBase,
    pub(super) platform: Platform,
    /// The ONBUILD triggers of its base, which run before its own instructions.
    pub(super) triggers: Vec<Located>,
    /// What each `--from` in it means.
    pub(super) sources: BTreeMap<String, CopyFrom>,
}

/// The graph, or the images whose ONBUILD triggers must be known before it can be drawn.
pub(super) enum Resolved<'a> {
    Complete(Graph<'a>),
    Needs(Vec<(BaseKey, Span)>),
}

/// A base before it is known which stages are needed; stages by their number in the Dockerfile.
#[derive(Clone)]
enum Origin {
    Scratch,
    /// A named context of files: they are all that the stage begins with.
    Files(String),
    Image(BaseKey),
    Stage(usize),
}

/// A `--from`, likewise.
#[derive(Clone)]
enum SourceOrigin {
    Files(String),
    Image(BaseKey),
    Stage(usize),
}

/// A stage that was reached.
struct Reached {
    origin: Origin,
    platform: Platform,
    triggers: Vec<Located>,
    sources: BTreeMap<String, SourceOrigin>,
}

struct Walk<'a> {
    dockerfile: &'a Dockerfile,
    globals: &'a Variables,
    bases: &'a Bases,
    request: &'a BuildRequest,
    names: Names<'a>,
    reached: BTreeMap<usize, Reached>,
    /// What is missing, each with the place that names it first.
    needs: BTreeMap<BaseKey, Span>,
}

/// Finds what the requested target needs; refuses what can be seen to be wrong in any stage.
pub(super) fn resolve<'a>(
    dockerfile: &'a Dockerfile,
    globals: &Variables,
    bases: &Bases,
    request: &BuildRequest,
    extent: Extent,
) -> Result<Resolved<'a>, Error> {
    let last = dockerfile.stages.len() - 1;
    let walk = |bases| {
        let (names, reached, needs) = (Names::of(dockerfile), BTreeMap::new(), BTreeMap::new());
        Walk { dockerfile, globals, bases, request, names, reached, needs }
    };
    // As in BuildKit, what is wrong in a stage's text is wrong whether the stage is needed or not.
    let none = Bases::new();
    let mut text = walk(&none);
    (0..=last).try_for_each(|index| text.reach(index))?;
    let asked_for = |name: &String| stage_asked_for(dockerfile, name, &text.names);
    let (target, wanted): (usize, Vec<usize>) = match extent {
        Extent::Target => {
            let target = request.target.as_ref().map_or(Ok(last), asked_for)?;
            let others = request.also_targets.iter().map(asked_for);
            (target, std::iter::once(Ok(target)).chain(others).collect::<Result<_, _>>()?)
        }
        Extent::All => (last, (0..=last).collect()),
    };
    let mut walk = walk(bases);
    for index in wanted {
        walk.reach(index)?;
    }
    if !walk.needs.is_empty() {
        return Ok(Resolved::Needs(walk.needs.into_iter().collect()));
    }
    let target = StageId(walk.reached.range(..target).count());
    Ok(Resolved::Complete(Graph { nodes: number(dockerfile, walk.reached), target }))
}

/// Finds a stage by its name or its number.
fn stage_asked_for(dockerfile: &Dockerfile, name: &str, names: &Names<'_>) -> Result<usize, Error> {
    if let Some(index) = names.find(name, dockerfile.stages.len()) {
        return Ok(index);
    }
    match name.parse::<usize>() {
        Ok(index) if index < dockerfile.stages.len() => Ok(index),
        Ok(_) | Err(_) => {
            let names: Vec<&str> = dockerfile.stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
            let error = Error {
                span: None,
                reason: ErrorReason::UnknownTarget(name.to_owned()),
                hint: None,
                warnings: Vec::new(),
            };
            let hint = match names[..] {
                [] => "no stage has a name: add one with `FROM … AS name`".to_owned(),
                _ => match suggest::hint(&name.to_lowercase(), names.iter().copied()) {
                    Some(meant) => format!("{meant} The stages are: {}", names.join(", ")),
                    None => format!("the stages are: {}", names.join(", ")),
                },
            };
            Err(error.with_hint(hint))
        }
    }
}

/// Finds the named context that a name means: BuildKit lets it stand before stages and images of that name, and takes
/// `alpine` and `docker.io/library/alpine:latest` for the same.
fn named<'r>(request: &'r BuildRequest, name: &str) -> Option<(&'r str, &'r NamedContext)> {
    let reference = |text: &str| text.parse::<Reference>().ok();
    let same = |other: &str| {
        other.eq_ignore_ascii_case(name) || reference(other).is_some_and(|other| reference(name) == Some(other))
    };
    request.named_contexts.iter().find(|(other, _)| same(other)).map(|(other, context)| (other.as_str(), context))
}

/// The numbers of the stages of each name, in order.
struct Names<'a>(HashMap<&'a str, Vec<usize>>);

impl<'a> Names<'a> {
    fn of(dockerfile: &'a Dockerfile) -> Self {
        let mut names = HashMap::<&str, Vec<usize>>::new();
        for (index, stage) in dockerfile.stages.iter().enumerate() {
            if let Some(name) = &stage.name {
                names.entry(name).or_default().push(index);
            }
        }
        Self(names)
    }

    /// Finds the last stage before `limit` with this name; case does not count.
    fn find(&self, name: &str, limit: usize) -> Option<usize> {
        let stages = self.0.get(&*name.to_lowercase())?;
        stages[..stages.partition_point(|index| *index < limit)].last().copied()
    }
}

impl Walk<'_> {
    /// Reaches a stage and all that it needs: the last first, since each needs earlier ones only.
    fn reach(&mut self, wanted: usize) -> Result<(), Error> {
        let mut open = BTreeSet::from([wanted]);
        let mut found = BTreeMap::new();
        while let Some(index) = open.pop_last() {
            if self.reached.contains_key(&index) {
                continue;
            }
            let stage = &self.dockerfile.stages[index];
            let (origin, platform) = self.origin(index)?;
            let triggers = self.triggers(&origin, stage.span)?;
            if let Origin::Stage(base) = &origin {
                open.insert(*base);
            }
            for located in triggers.iter().chain(&stage.instructions) {
                for from in source_names(&located.instruction) {
                    open.extend(self.source_stage(index, from, located.span)?);
                }
            }
            found.insert(index, (origin, platform, triggers));
        }
        // A stage based on another one takes the platform of that one.
        for (index, (origin, platform, triggers)) in found {
            let platform = match &origin {
                Origin::Stage(base) => self.reached[base].platform.clone(),
                Origin::Scratch | Origin::Files(_) | Origin::Image(_) => platform,
            };
            let mut sources = BTreeMap::new();
            for located in triggers.iter().chain(&self.dockerfile.stages[index].instructions) {
                for from in source_names(&located.instruction) {
                    sources.insert(from.to_owned(), self.source(index, from, &platform, located.span)?);
                }
            }
            self.reached.insert(index, Reached { origin, platform, triggers, sources });
        }
        Ok(())
    }

    /// Says what a stage's FROM means, and which platform it asks for.
    fn origin(&mut self, index: usize) -> Result<(Origin, Platform), Error> {
        let stage = &self.dockerfile.stages[index];
        let escape = self.dockerfile.directives.escape;
        let name = self.globals.word(escape, &stage.from.base, stage.span)?;
        if name.is_empty() {
            let error = Error::at(stage.span, ErrorReason::EmptyBase(stage.from.base.as_str().to_owned()));
            return Err(error.with_hint("give the ARG a default before the first FROM, or pass --build-arg".to_owned()));
        }
        let platform = match &stage.from.platform {
            Some(word) => {
                let text = self.globals.word(escape, word, stage.span)?;
                text.parse().map_err(|source| Error::at(stage.span, ErrorReason::Platform(source)))?
            }
            None => self.request.platform.clone(),
        };
        if let Some((name, context)) = named(self.request, &name) {
            if *context == NamedContext::Scratch {
                return Ok((Origin::Scratch, platform));
            }
            let origin = match self.named_image(name, context, &platform, stage.span) {
                Some(key) => Origin::Image(key),
                None => Origin::Files(name.to_owned()),
            };
            return Ok((origin, platform));
        }
        let origin = match self.names.find(&name, index) {
            Some(base) => Origin::Stage(base),
            None if name == "scratch" => Origin::Scratch,
            None => Origin::Image(self.image(&name, &platform, stage.span)?),
        };
        Ok((origin, platform))
    }

    /// Says what a `--from` in stage `index` means.
    fn source(&mut self, index: usize, from: &str, platform: &Platform, span: Span) -> Result<SourceOrigin, Error> {
        if let Some((name, context)) = named(self.request, from) {
            return Ok(match self.named_image(name, context, platform, span) {
                Some(key) => SourceOrigin::Image(key),
                None => SourceOrigin::Files(name.to_owned()),
            });
        }
        match self.source_stage(index, from, span)? {
            Some(stage) => Ok(SourceOrigin::Stage(stage)),
            None => Ok(SourceOrigin::Image(self.image(from, platform, span)?)),
        }
    }

    /// Returns the stage that a `--from` in stage `index` means, if it means one.
    fn source_stage(&self, index: usize, from: &str, span: Span) -> Result<Option<usize>, Error> {
        if named(self.request, from).is_some() {
            return Ok(None);
        }
        let stages = self.dockerfile.stages.len();
        let found = match from.parse::<usize>() {
            Ok(number) if number < stages => Some(number),
            Ok(number) => return Err(Error::at(span, ErrorReason::UnknownStageNumber(number.to_string()))),
            Err(_) => self.names.find(from, index).or_else(|| self.names.find(from, stages)),
        };
        match found {
            Some(other) if other == index => {
                let path = format!("{from} → {from}");
                Err(Error::at(span, ErrorReason::Circle { stage: from.to_owned(), path }))
            }
            Some(other) if other > index => {
                let message =
                    format!("cannot take files from stage `{from}`: it must stand before the stage that does");
                Err(Error::invalid(span, message))
            }
            found => Ok(found),
        }
    }

    /// Makes the key of an image, and notes it when it is not resolved yet.
    fn image(&mut self, name: &str, platform: &Platform, span: Span) -> Result<BaseKey, Error> {
        let reference: Reference = name.parse().map_err(|source| {
            let error = Error::at(span, ErrorReason::Reference { name: name.to_owned(), source });
            let names = self.dockerfile.stages.iter().filter_map(|stage| stage.name.as_deref());
            match suggest::hint(&name.to_lowercase(), names.clone()) {
                Some(hint) => error.with_hint(hint),
                None if names.clone().any(|stage| stage == name.to_lowercase()) => {
                    error.with_hint("a stage must stand before the line that uses it".to_owned())
                }
                None => error,
            }
        })?;
        Ok(self.needed(BaseKey { reference, platform: platform.to_string(), layout: None }, span))
    }

    fn needed(&mut self, key: BaseKey, span: Span) -> BaseKey {
        if !self.bases.contains_key(&key) {
            let first = self.needs.entry(key.clone()).or_insert(span);
            if span.start < first.start {
                *first = span;
            }
        }
        key
    }

    /// Makes the key of the image that a named context is; none for files.
    fn named_image(&mut self, name: &str, context: &NamedContext, platform: &Platform, span: Span) -> Option<BaseKey> {
        let platform = platform.to_string();
        let key = match context {
            NamedContext::Files(_) | NamedContext::Scratch => return None,
            NamedContext::Image(reference) => BaseKey { reference: reference.clone(), platform, layout: None },
            NamedContext::Layout { path, digest } => {
                let (registry, repository) = (LAYOUT.to_owned(), name.to_lowercase());
                let tag = digest.is_none().then(|| "latest".to_owned());
                let reference = Reference { registry, repository, tag, digest: digest.clone() };
                BaseKey { reference, platform, layout: Some(path.clone()) }
            }
        };
        Some(self.needed(key, span))
    }

    /// Returns the ONBUILD triggers that a base brings along.
    fn triggers(&self, origin: &Origin, span: Span) -> Result<Vec<Located>, Error> {
        match origin {
            Origin::Scratch => Ok(Vec::new()),
            Origin::Files(name) => {
                let text = format!("COPY --from={name} / /");
                let parsed = dockerfile::parse_instruction(&text).map_err(|source| {
                    let (text, base) = (text.clone(), name.clone());
                    Error::at(span, ErrorReason::Trigger { text, base, source: Box::new(source) })
                })?;
                Ok(parsed.into_iter().map(|located| Located { span, ..located }).collect())
            }
            Origin::Stage(base) => {
                let own = self.dockerfile.stages[*base].instructions.iter();
                let inherited = own.filter_map(|located| match &located.instruction {
                    Instruction::Onbuild(onbuild) => Some(Located {
                        instruction: (*onbuild.instruction).clone(),
                        span: located.span,
                        original: onbuild.instruction_text.clone(),
                    }),
                    _ => None,
                });
                Ok(inherited.collect())
            }
            Origin::Image(key) => {
                let Some(base) = self.bases.get(key) else { return Ok(Vec::new()) };
                let mut triggers = Vec::new();
                for text in &base.image.config.config.on_build {
                    let parsed = dockerfile::parse_instruction(text).map_err(|source| {
                        let base = key.reference.to_string();
                        Error::at(span, ErrorReason::Trigger { text: text.clone(), base, source: Box::new(source) })
                    })?;
                    // A trigger has no line in this Dockerfile: errors in it point to the FROM that brings it.
                    triggers.extend(parsed.into_iter().map(|located| Located { span, ..located }));
                }
                Ok(triggers)
            }
        }
    }
}

/// Returns each `from` of an instruction.
fn source_names(instruction: &Instruction) -> Vec<&str> {
    match instruction {
        Instruction::Copy(copy) => copy.from.iter().map(|word| word.as_str()).collect(),
        Instruction::Run(run) => run.mounts.iter().filter_map(|mount| mount.from()).collect(),
        _ => Vec::new(),
    }
}

/// Gives the reached stages their numbers in the plan.
fn number(dockerfile: &Dockerfile, reached: BTreeMap<usize, Reached>) -> Vec<Node<'_>> {
    let ids: BTreeMap<usize, StageId> = reached.keys().enumerate().map(|(id, index)| (*index, StageId(id))).collect();
    let node = |(index, reached): (usize, Reached)| Node {
        stage: &dockerfile.stages[index],
        name: dockerfile.stages[index].from.name.clone().unwrap_or_else(|| index.to_string()),
        base: match reached.origin {
            Origin::Scratch | Origin::Files(_) => StageBase::Scratch,
            Origin::Image(key) => StageBase::Image(key),
            Origin::Stage(base) => StageBase::Stage(ids[&base]),
        },
        platform: reached.platform,
        triggers: reached.triggers,
        sources: reached.sources.into_iter().map(|(from, source)| (from, numbered(source, &ids))).collect(),
    };
    reached.into_iter().map(node).collect()
}

fn numbered(source: SourceOrigin, ids: &BTreeMap<usize, StageId>) -> CopyFrom {
    match source {
        SourceOrigin::Files(name) => CopyFrom::Named(name),
        SourceOrigin::Image(key) => CopyFrom::Image(key),
        SourceOrigin::Stage(index) => CopyFrom::Stage(ids[&index]),
    }
}
