//! `--cache-from` and `--cache-to` in BuildKit's forms.
//!
//! Source: <https://docs.docker.com/build/cache/backends/>.

use super::{Build, usage};
use crate::cli::exit::Failure;

/// Fields that say how BuildKit writes its cache; here they are so in any case, if they have this value.
const ALWAYS: [(&str, &str); 3] = [("oci-mediatypes", "true"), ("image-manifest", "true"), ("ignore-error", "true")];

/// Fields that cannot be had, and what to write instead.
const INSTEAD: [(&str, &str); 5] = [
    ("compression", "layers of the cache have the image's: write --compression"),
    ("compression-level", "layers of the cache have the image's: write --compression-level"),
    ("force-compression", "leave it out: only layers that the build makes are in the cache"),
    ("tag", "leave it out: a directory holds one cache"),
    ("digest", "leave it out: what fits is found by the keys of steps"),
];

/// Types of caches that cannot be had, and what to use instead.
const OTHERS: [(&str, &str); 3] = [
    (
        "gha",
        "GitHub's cache service is not spoken to: use type=registry,ref=ghcr.io/OWNER/REPOSITORY/cache,mode=max; or a \
         directory that actions/cache keeps, with type=local",
    ),
    ("s3", "use type=registry,ref=REPOSITORY; or type=local with a directory that a step before and after copies"),
    ("azblob", "use type=registry,ref=REPOSITORY; or type=local with a directory that a step before and after copies"),
];

impl Build {
    pub(super) fn cache_from(&mut self, value: &str) -> Result<(), Failure> {
        let fields = Fields::of("--cache-from", value)?;
        match fields.kind {
            None => self.words.push(format!("--cache-from={value}").into()),
            Some("registry") => self.cache_in_registry(&fields, false)?,
            Some("local") => self.cache_at(format!("oci:{}", fields.need("src")?), false)?,
            Some(other) => return Err(fields.unknown(other)),
        }
        Ok(())
    }

    pub(super) fn cache_to(&mut self, value: &str) -> Result<(), Failure> {
        let fields = Fields::of("--cache-to", value)?;
        match fields.kind {
            Some("inline") => {
                self.words.push("--cache-inline".into());
                return Ok(());
            }
            None => self.cache_at(repository(value), true)?,
            Some("registry") => self.cache_in_registry(&fields, true)?,
            Some("local") => self.cache_at(format!("oci:{}", fields.need("dest")?), true)?,
            Some(other) => return Err(fields.unknown(other)),
        }
        if fields.kind.is_some() && fields.get("mode") != Some("max") {
            return Err(usage("--cache-to with mode=min, its default, is not possible: all steps are kept")
                .hint(format!("write --cache-to={value},mode=max; or type=inline, which keeps the image's own")));
        }
        Ok(())
    }

    fn cache_in_registry(&mut self, fields: &Fields<'_>, is_written: bool) -> Result<(), Failure> {
        let repository = repository(fields.need("ref")?);
        if fields.get("registry.insecure") == Some("true") {
            let registry = repository.split('/').next().unwrap_or_default();
            self.words.push(format!("--insecure-registry={registry}").into());
        }
        self.cache_at(repository, is_written)
    }

    /// Takes the place of the cache, which is one.
    fn cache_at(&mut self, place: String, is_written: bool) -> Result<(), Failure> {
        match &mut self.cache {
            Some((known, written)) if *known == place => *written |= is_written,
            Some((known, _)) => {
                return Err(usage(format!("the cache cannot be at {known} and at {place}"))
                    .hint("give one repository or directory to both --cache-from and --cache-to"));
            }
            None => self.cache = Some((place, is_written)),
        }
        Ok(())
    }
}

/// The fields of a value: `type=registry,ref=…`.
struct Fields<'a> {
    flag: &'static str,
    kind: Option<&'a str>,
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Fields<'a> {
    fn of(flag: &'static str, value: &'a str) -> Result<Self, Failure> {
        if !value.contains('=') {
            return Ok(Self { flag, kind: None, fields: Vec::new() });
        }
        let pair =
            |field: &'a str| field.split_once('=').ok_or_else(|| usage(format!("{flag}: `{field}` is no NAME=VALUE")));
        let fields = value.split(',').map(pair).collect::<Result<Vec<_>, _>>()?;
        let kind = fields.iter().find(|(name, _)| *name == "type").map_or("registry", |(_, kind)| kind);
        let fields = Self { flag, kind: Some(kind), fields };
        if !["registry", "local", "inline"].contains(&kind) {
            return Err(fields.unknown(kind));
        }
        fields.fields.iter().try_for_each(|field| fields.check(*field))?;
        Ok(fields)
    }

    /// Refuses a field that is not known, or that would be without effect.
    fn check(&self, (name, value): (&str, &str)) -> Result<(), Failure> {
        let known = ["type", "ref", "src", "dest", "mode", "registry.insecure"];
        if known.contains(&name) || ALWAYS.contains(&(name, value)) {
            return Ok(());
        }
        let failure = usage(format!("{}: `{name}={value}` is not possible here", self.flag));
        Err(match INSTEAD.iter().find(|(refused, _)| *refused == name) {
            Some((_, instead)) => failure.hint(*instead),
            None if ALWAYS.iter().any(|(always, _)| *always == name) => failure.hint("leave it out: it is always true"),
            None => failure.hint(format!("it can be {}", known.join(", "))),
        })
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn need(&self, name: &str) -> Result<&'a str, Failure> {
        self.get(name).ok_or_else(|| usage(format!("{}: `{name}=` is missing", self.flag)))
    }

    fn unknown(&self, kind: &str) -> Failure {
        let failure = usage(format!("{} of the type `{kind}` is not possible", self.flag));
        let instead = OTHERS.iter().find(|(other, _)| *other == kind).map(|(_, instead)| *instead);
        failure.hint(
            instead.unwrap_or(
                "it can be registry or local; --cache-to also inline, and --cache-from an image that has one",
            ),
        )
    }
}

/// Returns the repository of a reference: the tags in it are the cache's own.
fn repository(reference: &str) -> String {
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name.to_owned(),
        _ => reference.to_owned(),
    }
}
