//! Servers that answer in ways that a good registry rarely does.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::http::testing::{Reply, Request, Server};
use crate::oci::{Digest, Platform};

/// A server that grants everything on `/v2/` itself, counts other requests, and lets `script` answer them.
async fn registry(script: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |request| match request.target.as_str() {
        "/v2/" => Reply::new(200),
        _ => script(request, count.fetch_add(1, Ordering::Relaxed)),
    })
    .await
}

async fn pull(server: &Server, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
    collect(plain().blob(&reference(&server.address, "app"), descriptor).await?).await
}

async fn push(client: &Client, server: &Server, bytes: &[u8]) -> Result<Pushed, Error> {
    client.push_blob(&reference(&server.address, "app"), &source(bytes), &layer(bytes), None).await
}

fn range_of(request: &Request) -> Option<usize> {
    request.header("range").strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

#[tokio::test]
async fn a_blob_that_is_cut_continues_with_a_range() {
    let blob = content(100_000);
    let served = blob.clone();
    let server = registry(move |request, count| {
        let from = range_of(request).unwrap_or(0);
        let reply = Reply::new(if from > 0 { 206 } else { 200 })
            .header("content-range", format!("bytes {from}-99999/100000"))
            .body(&served[from..]);
        if count < 3 { reply.cut_after(30_000) } else { reply }
    })
    .await;
    assert_eq!(pull(&server, &layer(&blob)).await.expect("pulled"), blob);
    let ranges: Vec<_> = server.seen()[1..].iter().map(range_of).collect();
    assert_eq!(ranges, [None, Some(30_000), Some(60_000), Some(90_000)]);
}

#[tokio::test]
async fn where_ranges_are_ignored_the_known_part_is_passed_over() {
    let blob = content(50_000);
    let served = blob.clone();
    let server = registry(move |_, count| {
        let reply = Reply::new(200).body(served.clone());
        if count == 0 { reply.cut_after(20_000) } else { reply }
    })
    .await;
    assert_eq!(pull(&server, &layer(&blob)).await.expect("pulled"), blob);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn wrong_content_is_an_error_at_the_end() {
    let blob = content(1000);
    for (served, text) in [
        (content(1001)[1..].to_vec(), "digest"),
        (content(1001), "instead of 1000"),
        (content(999), "ended after 999 bytes instead of 1000"),
        (Vec::new(), "ended after 0 bytes"),
    ] {
        let server = registry(move |request, _| match range_of(request) {
            Some(_) => Reply::new(416),
            None => Reply::new(200).body(served.clone()),
        })
        .await;
        let error = pull(&server, &layer(&blob)).await.expect_err(text);
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        if text == "digest" {
            let named =
                [Digest::of(&blob), Digest::of(&content(1001)[1..])].map(|d| error.to_string().contains(d.as_str()));
            assert_eq!(named, [true, true], "{error}");
        }
    }
}

#[tokio::test]
async fn busy_registries_are_waited_for_as_they_ask() {
    let blob = content(10);
    let served = blob.clone();
    let server = registry(move |_, count| match count {
        0 => Reply::new(429).header("retry-after", "1"),
        1 => Reply::new(503).header("retry-after", "0"),
        _ => Reply::new(200).body(served.clone()),
    })
    .await;
    let start = std::time::Instant::now();
    assert_eq!(pull(&server, &layer(&blob)).await.expect("pulled"), blob);
    assert!(start.elapsed() >= Duration::from_secs(1), "asked again too early");

    let server = registry(|_, _| Reply::new(429).header("retry-after", "3600").body("too many")).await;
    let error = pull(&server, &layer(&blob)).await.expect_err("an hour is too long");
    assert_eq!((error.kind(), server.seen().len()), (ErrorKind::Transient, 2));
    assert!(error.to_string().contains("429 Too Many Requests: too many"), "{error}");
}

#[tokio::test]
async fn what_is_final_is_asked_once() {
    let server = registry(|_, _| Reply::new(404).body(r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"m"}]}"#)).await;
    let error = pull(&server, &layer(b"x")).await.expect_err("not there");
    assert_eq!((error.kind(), server.seen().len()), (ErrorKind::NotFound, 2));
    assert!(error.to_string().contains("BLOB_UNKNOWN: m"), "{error}");
}

/// A registry whose token server is itself; `rule` says which token a scope list gets.
async fn token_registry(rule: impl Fn(&Request) -> Option<String> + Send + Sync + 'static) -> Server {
    Server::start(move |request| {
        let path = request.target.split('?').next().unwrap_or_default().to_owned();
        if path == "/token" {
            return match rule(request) {
                Some(token) => Reply::new(200).body(format!(r#"{{"token":"{token}","expires_in":300}}"#)),
                None => Reply::new(401).body("no such user"),
            };
        }
        let has = |token: &str| request.header("authorization") == format!("Bearer {token}");
        let challenge = format!(r#"Bearer realm="http://{}/token",service="s""#, request.header("host"));
        match (request.line().as_str(), has("good")) {
            ("GET /v2/", _) | (_, false) => Reply::new(401).header("www-authenticate", challenge),
            ("POST /v2/app/blobs/uploads/", _) if request.target.contains("mount") => Reply::new(201),
            ("POST /v2/app/blobs/uploads/", _) => Reply::new(202).header("location", "/upload?state=1"),
            ("HEAD /v2/app/blobs/sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", _) => {
                Reply::new(404)
            }
            _ => Reply::new(202),
        }
    })
    .await
}

#[tokio::test]
async fn tokens_are_asked_once_with_all_scopes_and_the_password() {
    let server =
        token_registry(|request| (request.header("authorization") == "Basic dTpw").then(|| "good".to_owned())).await;
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#, server.address);
    let client = client(&config, |_, _| ());
    let to = reference(&server.address, "app");
    client.check_push(&to).await.expect("allowed");
    client.check_push(&to).await.expect("allowed");
    let from = reference(&server.address, "base/image");
    assert!(client.mount(&to, &from, &layer(b"x")).await.expect("mounted"));
    let tokens: Vec<_> = server.seen().into_iter().filter(|request| request.line() == "GET /token").collect();
    assert_eq!(tokens.len(), 2, "one for the repository, one for both");
    assert_eq!(tokens[0].target, "/token?service=s&scope=repository%3Aapp%3Apull%2Cpush&account=u");
    assert!(tokens[1].target.contains("scope=repository%3Aapp%3Apull%2Cpush&scope=repository%3Abase%2Fimage%3Apull"));
    assert_eq!(server.lines().iter().filter(|line| *line == "GET /v2/").count(), 1);
    assert_eq!(server.lines().iter().filter(|line| *line == "DELETE /upload").count(), 2);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let count = AtomicUsize::new(0);
    let server = token_registry(move |_| {
        Some(if count.fetch_add(1, Ordering::Relaxed) == 0 { "stale" } else { "good" }.to_owned())
    })
    .await;
    plain().check_push(&reference(&server.address, "app")).await.expect("allowed with the second token");

    let server = token_registry(|_| Some("bad".to_owned())).await;
    let error = plain().check_push(&reference(&server.address, "app")).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(server.lines().iter().filter(|line| *line == "GET /token").count(), 2);
}

#[tokio::test]
async fn an_identity_token_goes_by_oauth() {
    let server = token_registry(|request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let is_form = request.header("content-type") == "application/x-www-form-urlencoded";
        let good = "grant_type=refresh_token&service=s&scope=repository%3Aapp%3Apull%2Cpush&client_id=yadokari&refresh_token=r%2B";
        (request.method == "POST" && is_form && body == good).then(|| "good".to_owned())
    })
    .await;
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"", "identitytoken":"r+"}}}}}}"#, server.address);
    client(&config, |_, _| ()).check_push(&reference(&server.address, "app")).await.expect("allowed");
}

#[tokio::test]
async fn a_refusal_names_all_but_the_secret() {
    let server = token_registry(|_| None).await;
    let config = format!(r#"{{"auths":{{"{}":{{"username":"jane","password":"hunter2"}}}}}}"#, server.address);
    let client = client(&config, |_, _| ());
    let error = client.check_push(&reference(&server.address, "app")).await.expect_err("refused");
    let text = format!("{error} {error:?} {client:?}");
    for part in ["jane", "config.json", server.address.as_str(), "repository:app:pull,push", "401", "no such user"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!text.contains("hunter2") && !text.contains("amFuZTpodW50ZXIy"), "{text}");
    let error = plain().check_push(&reference(&server.address, "app")).await.expect_err("refused");
    assert!(error.to_string().contains("without credentials"), "{error}");
}

#[tokio::test]
async fn a_mount_that_is_accepted_as_an_upload_goes_on_as_one() {
    let blob = content(5000);
    let server = registry(|request, _| match request.line().as_str() {
        "POST /v2/app/blobs/uploads/" => Reply::new(202).header("location", "../../../../up/1?state=a%2Fb"),
        "PUT /up/1" => Reply::new(201),
        _ => Reply::new(404),
    })
    .await;
    let from = reference(&server.address, "base");
    let to = reference(&server.address, "app");
    let pushed = plain().push_blob(&to, &source(&blob), &layer(&blob), Some(&from)).await;
    assert_eq!(pushed.expect("pushed"), Pushed::Uploaded { bytes: 5000 });
    let lines = server.lines();
    assert_eq!(lines.iter().filter(|line| line.starts_with("POST")).count(), 1, "{lines:?}");
    let put = server.seen().pop().expect("requests");
    assert!(put.target.starts_with("/up/1?state=a%2Fb&digest=sha256"), "{}", put.target);
    assert_eq!(put.body, blob);
}

#[tokio::test]
async fn an_upload_that_breaks_continues_in_pieces_from_where_it_was() {
    let blob = content(4500);
    let server = registry(|request, count| match (request.method.as_str(), count) {
        ("HEAD", _) => Reply::new(404),
        ("POST", _) => Reply::new(202).header("location", "/up/1?state=0"),
        ("PUT", 2) => Reply::new(502),
        ("GET", _) => Reply::new(204).header("location", "/up/1?state=1").header("range", "0-1999"),
        ("PATCH", 5) => Reply::hang_up(),
        ("PATCH", _) => {
            let end = request.header("content-range").split('-').nth(1).unwrap_or_default();
            Reply::new(202).header("location", format!("/up/1?state={end}")).header("range", format!("0-{end}"))
        }
        ("PUT", _) => Reply::new(201),
        _ => Reply::new(500),
    })
    .await;
    let pushed = push(&plain(), &server, &blob).await.expect("pushed");
    assert_eq!(pushed, Pushed::Uploaded { bytes: 4500 + 2000 + 2500 });
    let patches: Vec<_> =
        server.seen().iter().map(|r| r.header("content-range").to_owned()).filter(|r| !r.is_empty()).collect();
    assert_eq!(patches, ["2000-2999", "3000-3999", "2000-2999", "3000-3999", "4000-4499"]);
    let put = server.seen().pop().expect("requests");
    assert!(put.target.starts_with("/up/1?state=4499&digest=") && put.body.is_empty(), "{put:?}");
}

#[tokio::test]
async fn where_pieces_are_refused_the_upload_starts_over() {
    let blob = content(3000);
    let server = registry(|request, count| match (request.method.as_str(), count) {
        ("HEAD", _) => Reply::new(404),
        ("POST", _) => Reply::new(202).header("location", format!("/up/{count}")),
        ("PUT", 2) => Reply::hang_up(),
        ("GET", _) => Reply::new(204).header("range", "0-0"),
        ("PATCH", _) => Reply::new(405),
        ("DELETE", _) => Reply::new(204),
        _ => Reply::new(201),
    })
    .await;
    push(&plain(), &server, &blob).await.expect("pushed");
    assert_eq!(server.seen().pop().expect("requests").body, blob);
}

#[tokio::test]
async fn an_upload_that_fails_for_good_is_ended() {
    let server = registry(|request, _| match request.method.as_str() {
        "HEAD" => Reply::new(404),
        "POST" => Reply::new(202).header("location", "/up/1"),
        "PUT" => Reply::new(400).body(r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#),
        _ => Reply::new(204),
    })
    .await;
    let error = push(&plain(), &server, b"x").await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(server.lines().pop().as_deref(), Some("DELETE /up/1"));
}

#[tokio::test]
async fn a_put_whose_answer_was_lost_is_found_to_have_worked() {
    let server = registry(|request, count| match (request.method.as_str(), count) {
        ("HEAD", 0) => Reply::new(404),
        ("HEAD", _) => Reply::new(200),
        ("POST", _) => Reply::new(202).header("location", "/up/1"),
        ("GET", _) => Reply::new(404),
        _ => Reply::hang_up(),
    })
    .await;
    assert_eq!(push(&plain(), &server, b"xyz").await.expect("pushed"), Pushed::Uploaded { bytes: 3 });
}

#[tokio::test]
async fn a_file_that_is_too_short_is_an_error_of_its_own() {
    let server = registry(|request, _| match request.method.as_str() {
        "HEAD" => Reply::new(404),
        "POST" => Reply::new(202).header("location", "/up/1"),
        _ => Reply::new(204),
    })
    .await;
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("blob");
    std::fs::write(&path, content(10)).expect("write");
    let blob = BlobSource::open(&path).expect("open");
    let to = reference(&server.address, "app");
    let error = plain().push_blob(&to, &blob, &layer(&content(20)), None).await.expect_err("short");
    assert!(matches!(error, Error::Size { expected: 20, actual: 10, .. }), "{error}");
}

#[tokio::test]
async fn a_manifest_is_confirmed_by_its_digest_and_not_sent_twice() {
    let bytes = Bytes::from_static(br#"{"schemaVersion":2}"#);
    let digest = Digest::of(&bytes);
    let known = digest.to_string();
    let server = registry(move |request, _| match request.line().as_str() {
        "HEAD /v2/app/manifests/same" => Reply::new(200).header("docker-content-digest", known.clone()),
        "PUT /v2/app/manifests/wrong" => Reply::new(201).header("docker-content-digest", Digest::of(b"x").to_string()),
        "PUT /v2/app/manifests/new" => Reply::new(201),
        _ => Reply::new(404),
    })
    .await;
    let push = async |tag: &str| {
        plain()
            .push_manifest(&reference(&server.address, &format!("app:{tag}")), media_type::OCI_MANIFEST, bytes.clone())
            .await
    };
    assert_eq!(push("same").await.expect("there"), digest);
    assert_eq!(server.lines(), ["GET /v2/", "HEAD /v2/app/manifests/same"]);
    assert_eq!(push("new").await.expect("pushed"), digest);
    assert_eq!(server.seen().pop().expect("requests").header("content-type"), media_type::OCI_MANIFEST);
    let error = push("wrong").await.expect_err("differs");
    assert_eq!(error.kind(), ErrorKind::Damaged);
}

#[tokio::test]
async fn an_index_without_the_platform_says_what_it_has() {
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{{"mediaType":"{}","digest":"{}","size":2,
        "platform":{{"os":"linux","architecture":"arm64"}}}}]}}"#,
        media_type::OCI_INDEX,
        media_type::OCI_MANIFEST,
        Digest::of(b"{}")
    );
    let server =
        registry(move |_, _| Reply::new(200).header("content-type", media_type::OCI_INDEX).body(index.clone())).await;
    let image = reference(&server.address, "app:1");
    let platform: Platform = "linux/amd64".parse().expect("platform");
    let error = plain().resolve(&image, &platform).await.expect_err("no amd64");
    assert!(error.to_string().contains("no image for linux/amd64, only for linux/arm64"), "{error}");
    let pinned = image.with_digest(Digest::of(b"other"));
    let error = plain().resolve(&pinned, &platform).await.expect_err("wrong digest");
    assert!(matches!(error, Error::Digest { .. }), "{error}");
}

#[tokio::test]
async fn parallel_pulls_are_bounded() {
    let server = registry(|_, _| Reply::new(200).body("x")).await;
    let client = client("", |_, options| options.parallel = 1);
    let from = reference(&server.address, "app");
    let first = client.blob(&from, &layer(b"x")).await.expect("opened");
    let (short, descriptor) = (Duration::from_millis(50), layer(b"x"));
    assert!(tokio::time::timeout(short, client.blob(&from, &descriptor)).await.is_err(), "there was no place");
    drop(first);
    client.blob(&from, &layer(b"x")).await.expect("opened");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stream_is_read_by_blocking_code_to_its_verified_end() {
    let blob = content(200_000);
    let served = blob.clone();
    let server = registry(move |request, _| {
        let body = if request.target.contains(Digest::of(&served).as_str()) { &served[..] } else { b"wrong" };
        Reply::new(200).body(body)
    })
    .await;
    let from = reference(&server.address, "app");
    let runtime = tokio::runtime::Handle::current();
    let read = async |stream: BlobStream| {
        let mut reader = read_blocking(stream, &runtime);
        let read = move || {
            let mut whole = Vec::new();
            let first = std::io::Read::read_to_end(&mut reader, &mut whole);
            let again = std::io::Read::read(&mut reader, &mut [0; 1]);
            (first.map(|_| whole), again)
        };
        tokio::task::spawn_blocking(read).await.expect("joined")
    };
    let (whole, again) = read(plain().blob(&from, &layer(&blob)).await.expect("opened")).await;
    assert_eq!((whole.expect("read"), again.expect("end")), (blob, 0));
    let (whole, again) = read(plain().blob(&from, &layer(b"right")).await.expect("opened")).await;
    let error = whole.expect_err("wrong digest");
    assert!(error.get_ref().is_some_and(|inner| inner.is::<Error>()), "{error:?}");
    assert!(again.is_err(), "an end after an error");
}

#[tokio::test]
async fn a_blob_in_another_store_is_fetched_without_our_password() {
    let blob = content(1000);
    let served = blob.clone();
    let store = Server::start(move |_| Reply::new(200).body(served.clone())).await;
    let location = format!("http://{}/blob?sig=secret", store.address);
    let server = Server::start(move |request| match request.header("authorization") {
        "Basic dTpw" => Reply::new(307).header("location", location.clone()),
        _ => Reply::new(401).header("www-authenticate", "Basic realm=x"),
    })
    .await;
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#, server.address);
    let client = client(&config, |_, _| ());
    let stream = client.blob(&reference(&server.address, "app"), &layer(&blob)).await.expect("opened");
    assert_eq!(collect(stream).await.expect("pulled"), blob);
    assert_eq!(store.seen()[0].header("authorization"), "");
}

#[tokio::test]
async fn an_upload_that_is_dropped_is_ended() {
    let server = registry(|request, _| match request.method.as_str() {
        "HEAD" => Reply::new(404),
        "POST" => Reply::new(202).header("location", "/up/1"),
        "PUT" => Reply::silence(),
        _ => Reply::new(204),
    })
    .await;
    let client = plain();
    let pushing = push(&client, &server, b"x");
    assert!(tokio::time::timeout(Duration::from_millis(200), pushing).await.is_err(), "it cannot end");
    for _ in 0..100 {
        if server.lines().iter().any(|line| line == "DELETE /up/1") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the session was left: {:?}", server.lines());
}

#[tokio::test]
async fn an_upload_through_a_registry_that_forgets_ends() {
    let server = registry(|request, _| match request.method.as_str() {
        "HEAD" | "GET" => Reply::new(404),
        "POST" => Reply::new(202).header("location", "/up/1"),
        "PATCH" => Reply::new(202).header("range", "0-0"),
        _ => Reply::hang_up(),
    })
    .await;
    let error = push(&plain(), &server, &content(5000)).await.expect_err("no end");
    assert!(server.seen().len() < 50, "{error}: {:?}", server.lines());
}

#[tokio::test]
async fn an_upload_that_is_thrown_back_again_and_again_ends() {
    let server = registry(|request, _| match (request.method.as_str(), request.header("content-range")) {
        ("HEAD", _) => Reply::new(404),
        ("POST", _) => Reply::new(202).header("location", "/up/1"),
        ("GET", _) => Reply::new(204).header("range", "0-999"),
        ("PATCH", "1000-1999") => Reply::new(202).header("range", "0-1999"),
        _ => Reply::hang_up(),
    })
    .await;
    let (client, blob) = (plain(), content(5000));
    let pushing = push(&client, &server, &blob);
    let ended = tokio::time::timeout(Duration::from_secs(20), pushing).await.expect("it ends");
    assert_eq!(ended.expect_err("never whole").kind(), ErrorKind::Transient);
}
