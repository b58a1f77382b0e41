//! Credentials by their sources, and what registries say.

use std::sync::Arc;

use serde::Serialize;

use crate::causes;
use crate::cli::args::DoctorArgs;
use crate::cli::env::Environment;
use crate::cli::exit::{Failure, Kind};
use crate::cli::report::Report;
use crate::cli::request;
use crate::cli::request::Network;
use crate::cli::services;
use crate::cli::work::wait;
use crate::oci::Reference;
use crate::progress::Reporter;
use crate::registry::{Client, Credentials};

/// Who we can be, and where.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Access {
    /// What is there of credentials.
    pub(super) credentials: Vec<Source>,
    /// Why they cannot be used, where a file is malformed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// What registries have said that were named.
    pub(super) registries: Vec<Answer>,
}

/// A source of credentials.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Source {
    pub(super) source: String,
    /// What it has; never a secret.
    pub(super) has: String,
}

/// What a registry has said.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Answer {
    pub(super) repository: String,
    /// Which source of credentials answers; none for an anonymous request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) credentials: Option<String>,
    pub(super) may_push: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

impl Access {
    /// Looks, and asks the registries that are named.
    pub(super) fn look(args: &DoctorArgs, environment: &Environment, report: &Arc<Report>) -> Result<Self, Failure> {
        let references = args.registries.iter().map(|text| text.parse().map_err(|error| (text, error)));
        let references: Vec<Reference> = references.collect::<Result<_, _>>().map_err(|(text, error)| {
            Failure::from_error(Kind::Usage, &error).hint(format!("--registry={text} is to be registry/repository"))
        })?;
        let network = request::registry_network(&args.network, environment)?;
        let reporter: Arc<dyn Reporter> = report.clone();
        let (agent, credentials) = match services::credentials(&network, &reporter) {
            Ok(made) => made,
            Err(failure) => {
                let error = Some([vec![failure.message], failure.causes].concat().join(": "));
                return Ok(Self { credentials: Vec::new(), error, registries: Vec::new() });
            }
        };
        let found = credentials.overview().into_iter().map(|(source, has)| Source { source, has }).collect();
        let client = Client::new(agent, network.registry.clone(), credentials.clone(), reporter);
        let registries = if references.is_empty() {
            Vec::new()
        } else {
            wait(async {
                let mut answers = Vec::new();
                for reference in &references {
                    answers.push(ask(reference, &client, &credentials, &network).await);
                }
                Ok(answers)
            })?
        };
        Ok(Self { credentials: found, error: None, registries })
    }
}

async fn ask(reference: &Reference, client: &Client, credentials: &Credentials, network: &Network) -> Answer {
    let found = credentials.explain(reference).await.credential;
    let asked = if network.check_push_permission { client.check_push(reference).await } else { Ok(()) };
    Answer {
        repository: reference.name().to_string(),
        credentials: found.map(|credential| credential.source.to_string()),
        may_push: asked.is_ok(),
        error: asked.err().map(|error| causes::in_one_line(&error)),
    }
}
