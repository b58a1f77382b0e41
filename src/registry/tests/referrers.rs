//! Referrers, with registries that have the API for them, with one that has not, and with those that do neither well.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::*;
use crate::attest::{Artifact, Attachment, Form, Statement};
use crate::http::testing::{Reply, Request, Server};
use crate::oci::{Digest, media_type};

const TYPE: &str = "application/vnd.in-toto+json";

/// What a registry has: manifests by tag and digest, and which manifests were said to refer to which.
#[derive(Default)]
struct Shelf {
    manifests: BTreeMap<String, (String, Vec<u8>)>,
    referrers: BTreeMap<String, Vec<Value>>,
}

#[derive(Clone, Copy, Default)]
struct Abilities {
    /// It has the referrers API.
    lists: bool,
    /// It filters by the type that is asked for.
    filters: bool,
    /// It takes manifests with a configuration that is none.
    takes_artifacts: bool,
    /// Somebody else replaces the first list that is written under a tag.
    has_rival: bool,
}

async fn registry(abilities: Abilities) -> (Server, Arc<Mutex<Shelf>>) {
    let shelf: Arc<Mutex<Shelf>> = Arc::default();
    let own = Arc::clone(&shelf);
    let server =
        Server::start(move |request| answer(request, abilities, &mut own.lock().expect("no test panics here")));
    (server.await, shelf)
}

fn answer(request: &Request, abilities: Abilities, shelf: &mut Shelf) -> Reply {
    let target = request.target.split('?').next().unwrap_or_default().to_owned();
    if target == "/v2/" {
        return Reply::new(200);
    }
    let rest = target.strip_prefix("/v2/app/").unwrap_or_default();
    match (request.method.as_str(), rest.split_once('/')) {
        ("HEAD", Some(("blobs", _))) => Reply::new(200),
        ("PUT", Some(("manifests", name))) => put(request, name, abilities, shelf),
        ("GET" | "HEAD", Some(("manifests", name))) => match shelf.manifests.get(name) {
            Some((media_type, bytes)) => {
                let reply = Reply::new(200).header("content-type", media_type.clone());
                reply.header("docker-content-digest", Digest::of(bytes).to_string()).body(bytes.clone())
            }
            None => Reply::new(404),
        },
        ("GET", Some(("referrers", subject))) if abilities.lists => {
            let wanted = request
                .target
                .split_once("artifactType=")
                .map(|(_, wanted)| wanted.replace("%2F", "/").replace("%2B", "+"));
            let all = shelf.referrers.get(subject).cloned().unwrap_or_default();
            let is_wanted = |one: &Value| {
                !abilities.filters || wanted.as_deref().is_none_or(|wanted| one["artifactType"] == wanted)
            };
            let manifests: Vec<Value> = all.into_iter().filter(is_wanted).collect();
            let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests});
            Reply::new(200).header("content-type", media_type::OCI_INDEX).body(index.to_string())
        }
        _ => Reply::new(404).body("404 page not found"),
    }
}

fn put(request: &Request, name: &str, abilities: Abilities, shelf: &mut Shelf) -> Reply {
    let manifest: Value = serde_json::from_slice(&request.body).expect("a manifest");
    if manifest["config"]["mediaType"] == media_type::OCI_EMPTY && !abilities.takes_artifacts {
        return Reply::new(400).body(r#"{"errors":[{"code":"MANIFEST_INVALID","message":"unknown config"}]}"#);
    }
    let served_as = request.header("content-type").to_owned();
    let digest = Digest::of(&request.body).to_string();
    if abilities.has_rival && name.starts_with("sha256-") && !shelf.manifests.contains_key(name) {
        let rival = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [
            {"mediaType": media_type::OCI_MANIFEST, "digest": Digest::of(b"rival"), "size": 5, "artifactType": "other/type"}]});
        shelf.manifests.insert(name.to_owned(), (served_as, rival.to_string().into_bytes()));
        return Reply::new(201);
    }
    for key in [name, &digest] {
        shelf.manifests.insert(key.to_owned(), (served_as.clone(), request.body.to_vec()));
    }
    let reply = Reply::new(201).header("docker-content-digest", digest.clone());
    match manifest["subject"]["digest"].as_str() {
        Some(subject) if abilities.lists => {
            let listed = json!({"mediaType": served_as, "digest": digest, "size": request.body.len(),
                "artifactType": manifest["artifactType"], "annotations": manifest["annotations"]});
            shelf.referrers.entry(subject.to_owned()).or_default().push(listed);
            reply.header("oci-subject", subject.to_owned())
        }
        _ => reply,
    }
}

fn attachment(predicate_type: &str) -> Attachment {
    let statement = Statement::new(Vec::new(), predicate_type, &json!({})).expect("JSON");
    Attachment::referrer(Artifact::of(&statement), &subject())
}

fn subject() -> Descriptor {
    Descriptor::of(media_type::OCI_MANIFEST, b"image")
}

async fn refer(server: &Server, attachment: &Attachment, form: Form) -> Result<Listed, Error> {
    let (repository, subject) = (reference(&server.address, "app"), subject().digest);
    plain().push_referrer(&repository, &subject, &attachment.write(form)).await
}

async fn found(server: &Server, wanted: Option<&str>) -> Vec<Descriptor> {
    let repository = reference(&server.address, "app");
    plain().referrers(&repository, &subject().digest, wanted).await.expect("lists")
}

#[tokio::test]
async fn a_registry_with_the_api_keeps_the_list_itself() {
    for filters in [true, false] {
        let (server, shelf) =
            registry(Abilities { lists: true, filters, takes_artifacts: true, has_rival: false }).await;
        assert!(found(&server, None).await.is_empty());
        let attachment = attachment("https://example.com/p");
        assert_eq!(refer(&server, &attachment, Form::Artifact).await.expect("pushed"), Listed::ByRegistry);
        assert!(shelf.lock().expect("whole").manifests.keys().all(|name| name.starts_with("sha256:")), "no tag");
        assert_eq!(found(&server, Some(TYPE)).await, [attachment.write(Form::Artifact).descriptor]);
        assert!(found(&server, Some("other/type")).await.is_empty(), "filtered by the registry: {filters}");
    }
}

#[tokio::test]
async fn without_the_api_the_list_is_an_index_under_a_tag() {
    let (server, shelf) = registry(Abilities { takes_artifacts: true, ..Abilities::default() }).await;
    assert!(found(&server, None).await.is_empty());
    let both = ["https://example.com/p", "https://example.com/q"].map(attachment);
    for one in [&both[0], &both[1], &both[0]] {
        assert_eq!(refer(&server, one, Form::Artifact).await.expect("pushed"), Listed::ByTag);
    }
    let tag = format!("sha256-{}", subject().digest.hex());
    assert!(shelf.lock().expect("whole").manifests.contains_key(&tag));
    assert_eq!(found(&server, None).await, both.map(|one| one.write(Form::Artifact).descriptor));
}

#[tokio::test]
async fn a_list_that_somebody_else_writes_at_the_same_time_has_both() {
    let (server, _shelf) = registry(Abilities { takes_artifacts: true, has_rival: true, ..Abilities::default() }).await;
    let own = attachment("https://example.com/p");
    refer(&server, &own, Form::Artifact).await.expect("pushed");
    let digests: Vec<Digest> = found(&server, None).await.into_iter().map(|one| one.digest).collect();
    assert_eq!(digests, [Digest::of(b"rival"), own.write(Form::Artifact).descriptor.digest]);
}

#[tokio::test]
async fn a_registry_that_takes_no_artifacts_is_told_from_one_that_is_down() {
    let (server, _shelf) = registry(Abilities::default()).await;
    let own = attachment("https://example.com/p");
    let error = refer(&server, &own, Form::Artifact).await.expect_err("refused");
    assert!(error.is_refused_artifact(), "{error}");
    assert_eq!(refer(&server, &own, Form::Image).await.expect("pushed"), Listed::ByTag);
    assert_eq!(found(&server, Some(TYPE)).await, [own.write(Form::Image).descriptor]);

    let server = Server::start(|request| match request.target.as_str() {
        "/v2/" => Reply::new(200),
        _ => Reply::new(503).header("retry-after", "0"),
    });
    let error = refer(&server.await, &own, Form::Artifact).await.expect_err("down");
    assert!(!error.is_refused_artifact(), "{error}");
}
