//! `yadokari sign`: a signature for images that are in a registry.

use std::sync::Arc;

use super::args::SignArgs;
use super::env::Environment;
use super::exit::{Failure, Kind};
use super::report::Report;
use super::work::wait;
use super::{request, services, signing};
use crate::oci::{Descriptor, Document, Reference};
use crate::progress::{Event, Reporter as _};
use crate::registry::Client;
use crate::trust::{self, Signatures};

/// Signs each image.
pub(super) fn run(args: &SignArgs, environment: &Environment, report: &Arc<Report>) -> Result<(), Failure> {
    let references = args.images.iter().map(|text| text.parse());
    let references: Vec<Reference> = references
        .collect::<Result<_, _>>()
        .map_err(|error: crate::oci::ReferenceError| Failure::from_error(Kind::Usage, &error))?;
    let settings = request::signing_settings(&args.signing, environment)?;
    let settings =
        settings.ok_or_else(|| Failure::new(Kind::Usage, "say who signs: --key FILE or URI, or --sign-keyless"))?;
    let network = request::registry_network(&args.registry, environment)?;
    let (agent, client) = services::client(&network, report.clone())?;
    // What is signed is what the registry itself has, and there the signature goes.
    let client = client.direct();
    let signing = signing::signing(&settings, &network, &agent)?;
    wait(async {
        // What makes the key useless is told before a registry is asked.
        signing.signer.public().await.map_err(trust::Error::from)?;
        for reference in &references {
            for image in images(&client, reference, args.recursive).await? {
                let signatures = signing.sign(&client, reference, &image).await?;
                report.report(Event::Note(&told(&reference.with_digest(image.digest), &signatures)));
            }
        }
        Ok(())
    })
}

/// Describes what a reference names, and where asked for the images of an index.
async fn images(client: &Client, reference: &Reference, recursive: bool) -> Result<Vec<Descriptor>, Failure> {
    let found = client.manifest(reference).await.map_err(trust::Error::from)?;
    let Some((bytes, _)) = found else {
        return Err(trust::Error::NoImage { reference: reference.to_string() }.into());
    };
    let document = Document::parse_alone(&bytes);
    let document = document.map_err(|source| trust::Error::Manifest { reference: reference.to_string(), source })?;
    Ok(match document {
        Document::Manifest(manifest) => vec![Descriptor::of(&manifest.media_type, &bytes)],
        Document::Index(index) => {
            let images = if recursive { index.manifests } else { Vec::new() };
            [Descriptor::of(&index.media_type, &bytes)].into_iter().chain(images).collect()
        }
    })
}

fn told(image: &Reference, signatures: &Signatures) -> String {
    let places = signatures.places.join(", ");
    match signatures.existed {
        true => format!("{image} was signed already: {places}"),
        false => format!("{image} is signed: {places}"),
    }
}
