//! A RUN that failed, kept to be looked into: what it left on disk as a layer over what it began with, in an image that
//! has its environment, user, directory and command.
//!
//! *Invariant: nothing of it goes where the image would have gone; what cannot be kept never hides why the RUN failed.*

use std::sync::Mutex;

use crate::causes;
use crate::image::{Image, Layer};
use crate::oci::History;
use crate::output::{self, Assembled};
use crate::plan::RunStep;
use crate::request::{BuildRequest, Output, Target};

use super::{Error, Services, deliver};

/// The first RUN that failed, if one did and it is to be kept.
pub(super) type Slot = Mutex<Option<Image>>;

/// Makes an image of what a step began with and what it left.
pub(super) fn image(before: &Image, layer: Option<Layer>, step: &RunStep) -> Image {
    let history = History {
        created_by: Some(format!("RUN {}", step.argv.join(" "))),
        comment: Some("a RUN that failed".to_owned()),
        ..History::default()
    };
    let mut image = match layer {
        Some(layer) => before.clone().with_layer(layer, history),
        None => before.clone().with_history(history),
    };
    let config = &mut image.config.config;
    config.env = step.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    config.user.clone_from(&step.user);
    config.working_dir.clone_from(&step.directory);
    (config.entrypoint, config.cmd) = (None, Some(step.argv.clone()));
    image
}

/// Puts what is kept where it was asked for, and says so in the error.
pub(super) fn keep(error: Error, kept: Option<Image>, request: &BuildRequest, services: &Services) -> Error {
    let (Some(image), Some(output)) = (kept, &request.on_failure) else { return error };
    // The failure has told all others to end; this is still to be done.
    if services.cancel.is_interrupted() || !services.cancel.resume() {
        return error;
    }
    let delivered = services.finish_isolation().and_then(|()| deliver(&image, output, request, services));
    let text = match (delivered, output) {
        (Err(failure), _) => format!("what the RUN left could not be kept: {}", causes::in_one_line(&failure)),
        (Ok(()), Output::Registry(reference)) => {
            format!("what the RUN left is the image {reference}: `podman run -it {reference} sh` looks into it")
        }
        (Ok(()), Output::Archive { target: Target::File(path), names, .. }) => {
            let name = names.first().map(ToString::to_string).unwrap_or_default();
            let path = path.display();
            format!(
                "what the RUN left is in {path}: `podman load -i {path}`, and `podman run -it {name} sh` looks into it; its \
                 command is the image's"
            )
        }
        (Ok(()), other) => format!("what the RUN left is kept: {other:?}"),
    };
    error.meant(Some(text))
}

fn deliver(image: &Image, output: &Output, request: &BuildRequest, services: &Services) -> Result<(), Error> {
    let assembled: Assembled = output::assemble(image, &request.form)?;
    if let Output::Registry(reference) = output {
        let uploads = services.uploads(vec![reference.clone()]);
        services.wait(uploads.finish(&assembled))??;
        return Ok(());
    }
    deliver::borrow(&assembled, services)?;
    deliver::write(std::slice::from_ref(output), &assembled, false, services)
}
