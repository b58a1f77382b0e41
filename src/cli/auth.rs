//! `yadokari auth explain`: which credentials are used for a repository, and why not others.

use std::sync::Arc;

use serde_json::{Value, json};

use super::args::AuthArgs;
use super::env::Environment;
use super::exit::{Failure, Kind};
use super::report::Report;
use super::work::{print, wait};
use super::{request, services};
use crate::oci::Reference;
use crate::progress::Reporter;
use crate::registry::{Credential, Explanation, Outcome};

/// Explains on standard output.
pub(super) fn run(args: &AuthArgs, environment: &Environment, report: &Arc<Report>) -> Result<(), Failure> {
    let reference: Reference = args.reference.parse().map_err(|error| Failure::from_error(Kind::Usage, &error))?;
    let network = request::registry_network(&args.registry, environment)?;
    let reporter: Arc<dyn Reporter> = report.clone();
    let (_, credentials) = services::credentials(&network, &reporter)?;
    let explanation = wait(async { Ok(credentials.explain(&reference).await) })?;
    let text = if args.json { as_json(&reference, &explanation) } else { as_text(&reference, &explanation) };
    print(&text)
}

/// Returns the word for an outcome, and what goes with it.
fn parts(outcome: &Outcome) -> (&'static str, &str) {
    match outcome {
        Outcome::Answers(by) => ("answers", by),
        Outcome::NotAsked(by) => ("not asked", by),
        Outcome::Nothing(why) => ("nothing", why),
        Outcome::Failed(why) => ("failed", why),
    }
}

fn user(credential: &Credential) -> String {
    credential.secret.user().map_or_else(|| "a token".to_owned(), |user| format!("user `{user}`"))
}

fn as_text(reference: &Reference, explanation: &Explanation) -> String {
    let used = explanation.credential.as_ref();
    let used = used.map_or_else(
        || "nobody: no source has credentials".to_owned(),
        |credential| format!("{}, {}", user(credential), credential.source),
    );
    let mut text = format!("{} is asked as {used}\n\n", reference.name());
    for (number, lookup) in explanation.lookups.iter().enumerate() {
        let told = match &lookup.outcome {
            Outcome::Answers(by) => format!("answers by {by}"),
            Outcome::NotAsked(by) => format!("not asked, since another source answers: {by}"),
            Outcome::Nothing(why) => why.clone(),
            Outcome::Failed(why) => format!("failed: {why}"),
        };
        text.push_str(&format!("{:3}. {}\n     {told}\n", number + 1, lookup.source));
    }
    text
}

fn as_json(reference: &Reference, explanation: &Explanation) -> String {
    let lookups = explanation.lookups.iter().map(|lookup| {
        let (outcome, detail) = parts(&lookup.outcome);
        json!({"source": lookup.source, "outcome": outcome.replace(' ', "-"), "detail": detail})
    });
    let credential = explanation
        .credential
        .as_ref()
        .map(|credential| json!({"user": credential.secret.user(), "source": credential.source}));
    let whole = json!({
        "repository": reference.name(),
        "credential": credential,
        "sources": lookups.collect::<Vec<Value>>(),
    });
    format!("{whole:#}\n")
}
