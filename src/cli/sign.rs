//! `yadokari sign`: a signature for images that are in a registry.

use std::sync::Arc;

use super::args::SignArgs;
use super::commands::wait;
use super::env::Environment;
use super::exit::{Failure, Kind};
use super::report::Report;
use super::{request, services, signing};
use crate::oci::{Digest, Document, Reference, media_type};
use crate::progress::{Event, Reporter as _};
use crate::registry::Client;
use crate::signing::{Payload, PrivateKey, Signature};
use crate::trust::{self, Attached};

/// Signs each image.
pub(super) fn run(args: &SignArgs, environment: &Environment, report: &Arc<Report>) -> Result<(), Failure> {
    let references = args.images.iter().map(|text| text.parse());
    let references: Vec<Reference> = references
        .collect::<Result<_, _>>()
        .map_err(|error: crate::oci::ReferenceError| Failure::from_error(Kind::Usage, &error))?;
    let key = signing::key(&args.signing, environment)?;
    let key = key.ok_or_else(|| Failure::new(Kind::Usage, "a signature needs a key: give it with --key"))?;
    let network = request::registry_network(&args.registry, environment)?;
    let (_, client) = services::client(&network, report.clone())?;
    // What is signed is what the registry itself has, and there the signature goes.
    let client = client.direct();
    wait(async {
        for reference in &references {
            for image in images(&client, reference, args.recursive).await? {
                let attached = sign(&client, reference, &image, &key).await?;
                report.report(Event::Note(&told(&reference.with_digest(image), &attached)));
            }
        }
        Ok(())
    })
}

/// Returns the digest of what a reference names, and where asked for those of the images of an index.
async fn images(client: &Client, reference: &Reference, recursive: bool) -> Result<Vec<Digest>, Failure> {
    let found = client.manifest(reference).await.map_err(trust::Error::from)?;
    let Some((bytes, digest)) = found else {
        return Err(trust::Error::NoImage { reference: reference.to_string() }.into());
    };
    let mut images = vec![digest];
    if recursive && let Ok(Document::Index(index)) = Document::parse(media_type::OCI_INDEX, &bytes) {
        images.extend(index.manifests.into_iter().map(|image| image.digest));
    }
    Ok(images)
}

async fn sign(
    client: &Client,
    repository: &Reference,
    image: &Digest,
    key: &PrivateKey,
) -> Result<Attached, trust::Error> {
    let payload = Payload { image: image.clone(), name: repository.name() };
    let signature = Signature::make(&payload, key)?;
    trust::attach(client, repository, (image, &signature, key.public())).await
}

fn told(image: &Reference, attached: &Attached) -> String {
    match attached.existed {
        true => format!("{image} was signed already, in {}", attached.place),
        false => format!("{image} is signed, in {}", attached.place),
    }
}
