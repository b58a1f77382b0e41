//! What form the image has: flags and outputs say it, and as a build makes one image, none may contradict another.

use super::annotation::{self, Annotation, Level};
use super::export::{self, Says};
use super::{UsageError, build};
use crate::cli::args::{Args, CompressionName, ImageFormatName, OriginName};
use crate::oci::Platform;
use crate::request::{ArchiveForm, Compression, ImageForm, ImageFormat, OriginMarks, Output};

/// Decides on compression and form.
pub(super) fn form(
    args: &Args,
    says: Vec<Says>,
    outputs: &[Output],
    platforms: &[Platform],
) -> Result<(Compression, ImageForm), UsageError> {
    let (image, export) = (&args.image, &args.export);
    let mut compression = Setting::new("--compression", image.compression);
    // Both -1 and 0 mean that it is not said.
    let mut level = Setting::new("--compression-level", Some(image.compression_level).filter(|level| *level > 0));
    let mut format = Setting::new("--image-format", export.image_format);
    let mut force = Setting::new("--force-compression", export.force_compression.then_some(true));
    let mut annotations = annotation::annotations(&export.annotation)?;
    for said in says {
        compression.add(said.compression)?;
        level.add(said.level.filter(|level| *level > 0))?;
        format.add(said.format)?;
        force.add(said.force)?;
        annotations.extend(said.annotations);
    }
    let name = compression.value.unwrap_or(CompressionName::Gzip);
    let format = match format.value.unwrap_or(ImageFormatName::Oci) {
        ImageFormatName::Oci => ImageFormat::Oci,
        ImageFormatName::Docker => ImageFormat::Docker,
    };
    let mut form = ImageForm {
        format,
        recompress: force.value.unwrap_or(false),
        origin: origin(export.mark_origin),
        ..ImageForm::default()
    };
    for annotation in annotations {
        add(annotation, &mut form, outputs, platforms)?;
    }
    check(&form, name)?;
    let is_docker = |output: &Output| matches!(output, Output::Archive { form: ArchiveForm::Docker, .. });
    if name == CompressionName::Zstd && outputs.iter().any(is_docker) {
        let reason = "`docker load` does not read zstd everywhere; use gzip, or an OCI layout or archive".to_owned();
        return Err(UsageError::Conflict { first: "a Docker archive", second: "the compression zstd", reason });
    }
    let level = level.value.unwrap_or(image.compression_level.min(0));
    Ok((build::compression(name, level)?, form))
}

/// One thing that several may say, and who said it first.
struct Setting<T> {
    by: &'static str,
    value: Option<T>,
}

impl<T: Copy + PartialEq> Setting<T> {
    fn new(flag: &'static str, value: Option<T>) -> Self {
        Self { by: flag, value }
    }

    /// Adds what an output says.
    fn add(&mut self, value: Option<T>) -> Result<(), UsageError> {
        match (self.value, value) {
            (Some(first), Some(second)) if first != second => {
                let reason = "a build makes one image for all outputs, and they ask for different ones".to_owned();
                Err(UsageError::Conflict { first: self.by, second: export::FLAG, reason })
            }
            (None, Some(second)) => {
                *self = Self { by: "one --output", value: Some(second) };
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn add(
    annotation: Annotation,
    form: &mut ImageForm,
    outputs: &[Output],
    platforms: &[Platform],
) -> Result<(), UsageError> {
    let names: Vec<String> = platforms.iter().map(Platform::to_string).collect();
    match &annotation.platform {
        Some(_) if platforms.len() > 1 => {
            return Err(annotation.refused("of several platforms none has annotations of its own"));
        }
        Some(wanted) if !platforms.iter().any(|platform| wanted.is_served_by(platform)) => {
            return Err(annotation.refused(&format!("the image is for {}", names.join(", "))));
        }
        _ => {}
    }
    let has_index = |output: &Output| match output {
        Output::Layout { .. } | Output::Archive { .. } => true,
        Output::Registry(_) | Output::Tar(_) | Output::Directory { .. } => false,
    };
    match annotation.level {
        None | Some(Level::Manifest) => annotation::add(&mut form.annotations, annotation),
        Some(Level::ManifestDescriptor) if outputs.iter().any(has_index) => {
            annotation::add(&mut form.descriptor_annotations, annotation);
        }
        Some(Level::ManifestDescriptor) => {
            return Err(annotation.refused("only a layout or an archive has such a descriptor, and there is none"));
        }
        Some(Level::Index | Level::IndexDescriptor) => {
            return Err(annotation.refused("a build makes one image and no index; `yadokari index` annotates those"));
        }
    }
    Ok(())
}

/// Refuses what Docker's format has no place for.
fn check(form: &ImageForm, compression: CompressionName) -> Result<(), UsageError> {
    let conflict = |second, reason: &str| {
        let first = "the format docker";
        Err(UsageError::Conflict { first, second, reason: reason.to_owned() })
    };
    match form.format {
        ImageFormat::Oci => Ok(()),
        ImageFormat::Docker if compression == CompressionName::Zstd => {
            conflict("the compression zstd", "Docker has no media type for it; use --image-format=oci")
        }
        ImageFormat::Docker if !form.annotations.is_empty() || !form.descriptor_annotations.is_empty() => {
            conflict("--annotation", "Docker's manifests have none; use --label, or --image-format=oci")
        }
        ImageFormat::Docker if form.origin.annotations => {
            conflict("--mark-origin=annotations", "Docker's manifests have none; use --mark-origin=labels")
        }
        ImageFormat::Docker => Ok(()),
    }
}

fn origin(name: OriginName) -> OriginMarks {
    match name {
        OriginName::None => OriginMarks { annotations: false, labels: false },
        OriginName::Annotations => OriginMarks { annotations: true, labels: false },
        OriginName::Labels => OriginMarks { annotations: false, labels: true },
        OriginName::Both => OriginMarks { annotations: true, labels: true },
    }
}
