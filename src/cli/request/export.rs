//! `--output`: fields in BuildKit's words become outputs, and what they say of the image itself.
//!
//! Source: <https://github.com/moby/buildkit#output>, and for the short forms
//! <https://docs.docker.com/reference/cli/docker/buildx/build/#output>.

use std::path::{Path, PathBuf};

use super::annotation::{self, Annotation};
use super::destinations::untagged;
use super::{UsageError, absolute};
use crate::cli::args::{CompressionName, ImageFormatName, boolean};
use crate::dockerfile::csv;
use crate::oci::Reference;
use crate::request::{ArchiveForm, DirectoryMode, Output, Target};

pub(super) const FLAG: &str = "--output";

/// What one `--output` asks for.
#[derive(Debug, Default)]
pub(super) struct Export {
    /// Where it goes: one output, or one for each name in registries.
    pub(super) outputs: Vec<Output>,
    /// The path that it is written to.
    pub(super) path: Option<PathBuf>,
    pub(super) says: Says,
}

/// What outputs say of the image itself.
#[derive(Debug, Default)]
pub(super) struct Says {
    pub(super) format: Option<ImageFormatName>,
    pub(super) compression: Option<CompressionName>,
    pub(super) level: Option<i32>,
    pub(super) force: Option<bool>,
    pub(super) annotations: Vec<Annotation>,
}

/// Reads one `--output`; `names` are those of an archive or layout that has none of its own.
pub(super) fn export(text: &str, names: &[Reference], working: &Path) -> Result<Export, UsageError> {
    let refuse = |reason: String| UsageError::Value { flag: FLAG, value: text.to_owned(), reason };
    let mut fields = Fields::read(text).map_err(refuse)?;
    fields.export(names, working).and_then(|export| fields.end().map(|()| export)).map_err(refuse)
}

/// The fields that are not read yet.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn read(text: &str) -> Result<Self, String> {
        let split = csv(text).map_err(|error| error.to_string())?;
        let of = |fields: [(&str, &str); 2]| Self(fields.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        match split.as_slice() {
            [only] if only == "-" => return Ok(of([("type", "tar"), ("dest", "-")])),
            [only] if !only.contains('=') => return Ok(of([("type", "local"), ("dest", only)])),
            _ => {}
        }
        let mut fields: Vec<(String, String)> = Vec::new();
        for field in split {
            let (key, value) = field.split_once('=').ok_or_else(|| format!("`{field}` is not NAME=VALUE"))?;
            let key = if key.starts_with("annotation") { key.to_owned() } else { key.to_lowercase() };
            if fields.iter().any(|(known, _)| *known == key) {
                return Err(format!("`{key}` is given twice"));
            }
            fields.push((key, value.to_owned()));
        }
        Ok(Self(fields))
    }

    fn take(&mut self, key: &str) -> Option<String> {
        let position = self.0.iter().position(|(known, _)| known == key)?;
        Some(self.0.remove(position).1)
    }

    fn boolean(&mut self, key: &str) -> Result<Option<bool>, String> {
        let value = self.take(key).filter(|value| !value.is_empty());
        value.map(|value| boolean(&value).map_err(|reason| format!("{key}: {reason}"))).transpose()
    }

    fn end(&self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((key, _)) if key == "output" => Err("`output` is not known; dest= is probably meant".to_owned()),
            Some((key, _)) => Err(format!("`{key}` is not known for this type")),
        }
    }

    fn export(&mut self, names: &[Reference], working: &Path) -> Result<Export, String> {
        let kind = self.take("type").ok_or("it needs a type: registry, oci, docker, local or tar")?;
        match &*kind {
            "registry" | "image" => self.registry(kind == "registry"),
            "oci" => self.image(ArchiveForm::Oci, names, working),
            "docker" => self.image(ArchiveForm::Docker, names, working),
            "tar" => self.tar(working),
            "local" => self.directory(working),
            other => Err(format!("`{other}` is no type; it can be registry, image, oci, docker, local or tar")),
        }
    }

    fn registry(&mut self, pushes: bool) -> Result<Export, String> {
        if !self.boolean("push")?.unwrap_or(pushes) {
            let message = "no image is kept here that is not pushed: write push=true, or type=oci or docker for a file";
            return Err(message.to_owned());
        }
        let names = self.names()?.ok_or("it needs the name to push to: name=REFERENCE")?;
        if names.iter().any(|name| name.digest.is_some()) {
            return Err("an image's digest is not known before it is built; give a tag, or none".to_owned());
        }
        let names = if self.boolean("push-by-digest")?.unwrap_or(false) { untagged(names) } else { names };
        let outputs = names.into_iter().map(Output::Registry).collect();
        Ok(Export { outputs, path: None, says: self.says()? })
    }

    fn image(&mut self, form: ArchiveForm, names: &[Reference], working: &Path) -> Result<Export, String> {
        let names = self.names()?.unwrap_or_else(|| names.to_vec());
        let target = self.target(working);
        let output = match (self.boolean("tar")?.unwrap_or(true), target) {
            (true, target) => Output::Archive { form, target, names },
            (false, Target::File(path)) => Output::Layout { path, names },
            (false, Target::Stdout) => return Err("a layout needs a directory: dest=DIRECTORY".to_owned()),
        };
        let path = match &output {
            Output::Archive { target: Target::File(path), .. } | Output::Layout { path, .. } => Some(path.clone()),
            _ => None,
        };
        Ok(Export { outputs: vec![output], path, says: self.says()? })
    }

    fn tar(&mut self, working: &Path) -> Result<Export, String> {
        self.one_platform()?;
        let target = self.target(working);
        let path = if let Target::File(path) = &target { Some(path.clone()) } else { None };
        Ok(Export { outputs: vec![Output::Tar(target)], path, says: Says::default() })
    }

    fn directory(&mut self, working: &Path) -> Result<Export, String> {
        self.one_platform()?;
        let mode = match self.take("mode").as_deref() {
            None | Some("" | "copy") => DirectoryMode::Copy,
            Some("delete") => DirectoryMode::Delete,
            Some(other) => return Err(format!("mode cannot be `{other}`: it can be copy or delete")),
        };
        let Target::File(path) = self.target(working) else {
            return Err("it needs a directory: dest=DIRECTORY".to_owned());
        };
        let outputs = vec![Output::Directory { path: path.clone(), mode }];
        Ok(Export { outputs, path: Some(path), says: Says::default() })
    }

    /// A build is for one platform: there is nothing to split.
    fn one_platform(&mut self) -> Result<(), String> {
        match self.boolean("platform-split")? {
            Some(true) => Err("platform-split: a build is for one platform".to_owned()),
            Some(false) | None => Ok(()),
        }
    }

    /// Reads `dest`: no value, and `-`, are standard output, as for BuildKit.
    fn target(&mut self, working: &Path) -> Target {
        match self.take("dest").filter(|path| !path.is_empty() && path != "-") {
            Some(path) => Target::File(absolute(Path::new(&path), working)),
            None => Target::Stdout,
        }
    }

    fn names(&mut self) -> Result<Option<Vec<Reference>>, String> {
        let Some(names) = self.take("name").filter(|names| !names.is_empty()) else { return Ok(None) };
        let names = names.split(',').map(str::parse).collect::<Result<Vec<Reference>, _>>();
        names.map(Some).map_err(|error| error.to_string())
    }

    fn says(&mut self) -> Result<Says, String> {
        if self.boolean("rewrite-timestamp")? == Some(false) {
            return Err("rewrite-timestamp: times follow SOURCE_DATE_EPOCH wherever it is set; unset it".to_owned());
        }
        let compression = match self.take("compression").as_deref() {
            None | Some("") => None,
            Some("gzip") => Some(CompressionName::Gzip),
            Some("zstd") => Some(CompressionName::Zstd),
            Some("uncompressed" | "none") => Some(CompressionName::None),
            Some(other) => {
                return Err(format!("compression cannot be `{other}`: it can be gzip, zstd or uncompressed"));
            }
        };
        let level = self.take("compression-level").filter(|level| !level.is_empty());
        let level = level.map(|level| level.parse().map_err(|_| format!("compression-level `{level}` is no number")));
        let format = self.boolean("oci-mediatypes")?;
        let format = format.map(|oci| if oci { ImageFormatName::Oci } else { ImageFormatName::Docker });
        let force = self.boolean("force-compression")?;
        let mut annotations = Vec::new();
        for (key, value) in std::mem::take(&mut self.0) {
            match annotation::field(&key, &value) {
                Some(annotation) => annotations.push(annotation?),
                None => self.0.push((key, value)),
            }
        }
        Ok(Says { format, compression, level: level.transpose()?, force, annotations })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Export, String> {
        let names = ["r.io/given:1".parse().expect("name")];
        export(text, &names, Path::new("/work")).map_err(|error| error.to_string())
    }

    fn shown(text: &str) -> String {
        let outputs = read(text).expect(text).outputs;
        let one = |output: &Output| match output {
            Output::Registry(name) => format!("push {name}"),
            Output::Layout { path, names } => format!("layout {} {}", path.display(), names[0]),
            Output::Archive { form, target, names } => format!("{form:?} {target:?} {}", names[0]).replace('"', ""),
            Output::Tar(target) => format!("tar {target:?}").replace('"', ""),
            Output::Directory { path, mode } => format!("{mode:?} {}", path.display()),
        };
        outputs.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn buildkits_words_are_outputs() {
        let rows = [
            ("type=registry,name=r.io/a", "push r.io/a:latest"),
            ("type=image,name=r.io/a:1,push=true", "push r.io/a:1"),
            ("type=image,name=r.io/a:1,push=true,push-by-digest=true", "push r.io/a"),
            ("type=image,\"name=r.io/a:1,r.io/b:2\",push=1", "push r.io/a:1; push r.io/b:2"),
            ("type=oci,dest=o.tar", "Oci File(/work/o.tar) r.io/given:1"),
            ("type=oci,dest=/o,tar=false,name=r.io/x:9", "layout /o r.io/x:9"),
            ("type=docker", "Docker Stdout r.io/given:1"),
            ("type=docker,dest=-,name=a:1", "Docker Stdout docker.io/library/a:1"),
            ("type=tar", "tar Stdout"),
            ("-", "tar Stdout"),
            ("type=tar,dest=t,platform-split=false", "tar File(/work/t)"),
            ("type=local,dest=d", "Copy /work/d"),
            ("some/d", "Copy /work/some/d"),
            ("type=local,dest=d,mode=delete", "Delete /work/d"),
            ("TYPE=docker,DEST=d,name=", "Docker File(/work/d) r.io/given:1"),
        ];
        for (text, expected) in rows {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_outputs_say_of_the_image() {
        let text = "type=oci,dest=o,compression=zstd,compression-level=19,force-compression=true,oci-mediatypes=true,\
                    annotation.A.b=c,annotation-manifest-descriptor.d=e,rewrite-timestamp=true";
        let says = read(text).expect("is read").says;
        assert_eq!((says.format, says.compression), (Some(ImageFormatName::Oci), Some(CompressionName::Zstd)));
        assert_eq!((says.level, says.force), (Some(19), Some(true)));
        assert_eq!(says.annotations.iter().map(|one| &*one.key).collect::<Vec<_>>(), ["A.b", "d"]);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let rows = [
            ("dest=o,x=y", "needs a type"),
            ("type=moon,dest=o", "`moon` is no type"),
            ("type=image,name=r.io/a", "push=true"),
            ("type=registry,name=r.io/a,push=false", "push=true"),
            ("type=registry", "needs the name"),
            ("type=registry,name=r.io/A", "lower case"),
            (&format!("type=registry,name=r.io/a@sha256:{}", "0".repeat(64)), "not known before"),
            ("type=oci,tar=false", "needs a directory"),
            ("type=oci,tar=maybe,dest=o", "true or false"),
            ("type=oci,dest=o,dest=p", "given twice"),
            ("type=oci,output=o", "dest="),
            ("type=oci,dest=o,unpack=true", "`unpack` is not known"),
            ("type=oci,dest=o,compression=estargz", "cannot be `estargz`"),
            ("type=oci,dest=o,compression-level=high", "no number"),
            ("type=oci,dest=o,annotation-moon.a=b", "`moon` is no type"),
            ("type=oci,dest=o,rewrite-timestamp=false", "SOURCE_DATE_EPOCH"),
            ("type=oci,\"dest=o", "cannot split"),
            ("type=oci,dest", "not NAME=VALUE"),
            ("type=local", "needs a directory"),
            ("type=local,dest=-", "needs a directory"),
            ("type=local,dest=d,mode=mirror", "mode cannot be"),
            ("type=tar,platform-split=true", "one platform"),
            ("type=tar,compression=gzip", "`compression` is not known"),
        ];
        for (text, expected) in rows {
            let error = read(text).map(|export| export.outputs).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
