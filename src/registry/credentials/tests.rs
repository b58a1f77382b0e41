//! The search over files and helpers.

use super::super::helper;
use super::*;

fn parse(text: &str) -> Credentials {
    Credentials::parse(&[("config.json".to_owned(), text.to_owned())], &[]).expect("credentials")
}

fn reference(text: &str) -> Reference {
    text.parse().expect(text)
}

async fn user(credentials: &Credentials, of: &str) -> Option<String> {
    match credentials.find(&reference(of)).await.credential?.secret {
        Secret::Password { user, password } => Some(format!("{user}:{password}")),
        Secret::IdentityToken(token) => Some(format!("identity {token}")),
        Secret::RegistryToken(token) => Some(format!("registry {token}")),
    }
}

#[tokio::test]
async fn the_shapes_of_an_entry() {
    for (entry, expected) in [
        (r#"{"auth":"dTpw"}"#, Some("u:p")),
        (r#"{"auth":"dTpwOng"}"#, Some("u:p:x")),
        (r#"{"auth":"dTpwAAA="}"#, Some("u:p")),
        (r#"{"username":"a","password":"b","auth":"dTpw"}"#, Some("a:b")),
        (r#"{"auth":"dTpw","identitytoken":"i"}"#, Some("identity i")),
        (r#"{"registrytoken":"r","identitytoken":"i"}"#, Some("registry r")),
        (r#"{"auth":"dTpw","identitytoken":"","email":"x@y"}"#, Some("u:p")),
        (r#"{"auth":"!"}"#, None),
        (r"{}", None),
    ] {
        let credentials = parse(&format!(r#"{{"auths":{{"r.example":{entry}}},"HttpHeaders":{{}}}}"#));
        assert_eq!(user(&credentials, "r.example/app").await.as_deref(), expected, "{entry}");
    }
}

#[tokio::test]
async fn keys_match_their_registry_and_the_longest_path_wins() {
    let entry = |user: &str| format!(r#"{{"username":"{user}"}}"#);
    let auths = [
        "https://index.docker.io/v1/",
        "docker.io/team",
        "r.example",
        "r.example/team",
        "r.example/team/app",
        "https://s.example/v2/",
        "http://t.example/ignored/path",
        "u.example:5000",
        "v.example/only/this/",
    ];
    let auths: Vec<String> = auths.iter().map(|key| format!("\"{key}\":{}", entry(key))).collect();
    let credentials = parse(&format!(r#"{{"auths":{{{}}}}}"#, auths.join(",")));
    for (of, key) in [
        ("busybox", Some("https://index.docker.io/v1/")),
        ("docker.io/team/app", Some("docker.io/team")),
        ("r.example/other", Some("r.example")),
        ("r.example/team/x", Some("r.example/team")),
        ("r.example/team/app/y", Some("r.example/team/app")),
        ("r.example/teamwork", Some("r.example")),
        ("s.example/a", Some("https://s.example/v2/")),
        ("t.example/a", Some("http://t.example/ignored/path")),
        ("u.example:5000/a", Some("u.example:5000")),
        ("u.example/a", None),
        ("v.example/only/this", Some("v.example/only/this/")),
        ("v.example/only", None),
        ("w.example/a", None),
    ] {
        assert_eq!(user(&credentials, of).await, key.map(|key| format!("{key}:")), "{of}");
    }
}

/// Files as they are searched when none is named.
fn files(paths: &[PathBuf]) -> Sources {
    let document = |path: &PathBuf| Document {
        name: path.display().to_string(),
        content: Content::File(path.clone()),
        required: false,
    };
    Sources { documents: paths.iter().map(document).collect(), ..Sources::default() }
}

#[tokio::test]
async fn documents_count_as_one_and_among_equals_the_first_wins() {
    let text = |key: &str, user: &str| format!(r#"{{"auths":{{"{key}":{{"username":"{user}","password":"x"}}}}}}"#);
    let directory = tempfile::tempdir().expect("directory");
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("1.json"), text("a.example", "first")).expect("write");
    std::fs::write(path("2.json"), "").expect("write");
    std::fs::write(path("3.json"), text("a.example/app", "third")).expect("write");
    std::fs::write(path("4.json"), text("b.example", "fourth")).expect("write");
    std::fs::write(path(".dockercfg"), r#"{"https://d.example/v1/":{"auth":"dTpw","email":"x@y"}}"#).expect("write");
    std::fs::write(path("5.json"), text("b.example", "fifth")).expect("write");
    let names = ["1.json", "none/x", "1.json/x", "2.json", "3.json", "4.json", ".dockercfg", "5.json"];
    let sources = files(&names.map(path));
    let credentials = Credentials::load(sources.clone(), None).expect("loaded");
    assert_eq!(user(&credentials, "a.example/app").await.as_deref(), Some("third:x"), "the longest path");
    assert_eq!(user(&credentials, "a.example/other").await.as_deref(), Some("first:x"));
    assert_eq!(user(&credentials, "b.example/app").await.as_deref(), Some("fourth:x"));
    assert_eq!(user(&credentials, "d.example/app").await.as_deref(), Some("u:p"), "the older form");
    let notes = credentials.find(&reference("c.example/x")).await.notes.join(";");
    assert!(notes.contains("c.example") && notes.contains("4.json"), "{notes}");

    let mut named = sources;
    named.documents[1].required = true;
    assert!(matches!(Credentials::load(named, None), Err(CredentialsError::Read { .. })), "a named file must be there");
}

#[tokio::test]
async fn each_source_says_what_it_has() {
    let document = |name: &str, text: &str| Document {
        name: name.to_owned(),
        content: Content::Text(text.to_owned()),
        required: true,
    };
    let sources = Sources {
        documents: vec![
            document("one", r#"{"auths":{"a.example":{"auth":"dTpodW50ZXIy"}}}"#),
            document("two", r#"{"auths":{"b.example":{"auth":"!"},"b.example/x":{"auth":"dTpodW50ZXIy"}}}"#),
            document("three", r#"{"credsStore":"missing"}"#),
        ],
        logins: vec![Login {
            names: Names::Variable("EXAMPLE".to_owned()),
            user: "env".to_owned(),
            password: "hunter2".to_owned(),
        }],
        keychains: vec![Keychain::Environment, Keychain::Ecr, Keychain::Program("nope".to_owned())],
        helper_directories: Vec::new(),
    };
    let credentials = Credentials::load(sources, None).expect("loaded");
    let explain = async |of: &str| {
        let explanation = credentials.explain(&reference(of)).await;
        assert!(!format!("{explanation:?}").contains("hunter2") && !format!("{explanation:?}").contains("dTpo"));
        explanation
            .lookups
            .into_iter()
            .map(|lookup| format!("{}: {:?}", lookup.source, lookup.outcome))
            .collect::<Vec<_>>()
    };
    let lookups = explain("b.example/x/y").await;
    assert_eq!(lookups[0], r#"one: Nothing("nothing for b.example/x/y; it has a.example")"#);
    assert_eq!(lookups[1], r#"two: Answers("key b.example/x")"#);
    assert_eq!(lookups[2], r#"three: NotAsked("docker-credential-missing for b.example")"#);
    assert_eq!(lookups.len(), 6);
    let lookups = explain("b.example/z").await;
    assert!(lookups[1].starts_with("two: Failed") && lookups[2].starts_with("three: Failed"), "{lookups:?}");
    assert!(lookups[3].contains("Answers") && lookups[5].contains("NotAsked"), "{lookups:?}");
    assert!(explain("c.test/z").await[3].contains("Nothing"));
}

#[test]
fn a_malformed_file_is_named_and_not_quoted() {
    for text in ["{\n \"auths\": \"hunter2\"}", "{\"auths\": {\"x\": {\"auth\": {\"hunter2\": 1}}}}", "hunter2"] {
        let error = Credentials::parse(&[("/x/config.json".to_owned(), text.to_owned())], &[]).expect_err(text);
        let text = format!("{error} {error:?}");
        assert!(text.contains("/x/config.json") && !text.contains("hunter2"), "{text}");
    }
}

fn helper(directory: &Path, name: &str, script: &str) {
    helper::tests::write_program(&directory.join(format!("docker-credential-{name}")), script);
}

#[tokio::test]
async fn helpers_are_asked_once_and_their_troubles_are_noted() {
    let directory = tempfile::tempdir().expect("directory");
    let log = directory.path().join("log");
    let path = |name: &str| log.with_extension(name).display().to_string();
    helper(
        directory.path(),
        "good",
        &format!(r#"read s; echo "$1 $s" >> {}; echo '{{"ServerURL":"x","Username":"u","Secret":"p"}}'"#, path("good")),
    );
    helper(directory.path(), "token", r#"echo '{"Username":"<token>","Secret":"t"}'"#);
    helper(directory.path(), "unknown", "echo credentials not found in native keychain; exit 1");
    helper(directory.path(), "broken", "echo cannot reach the metadata server; exit 1");
    let text = r#"{"credHelpers":{"g.example":"good","https://index.docker.io/v1/":"good","t.example":"token",
        "u.example":"unknown","b.example":"broken","m.example":"missing","e.example":"../evil"},
        "auths":{"u.example":{"username":"fallback"}},"credsStore":"unknown"}"#;
    let texts = [("config.json".to_owned(), text.to_owned())];
    let credentials =
        Credentials::parse(&texts, &[PathBuf::from("/nonexistent"), directory.path().to_owned()]).expect("parsed");
    credentials.seal(&[reference("g.example/a"), reference("busybox")]).await;
    // Nobody can plant a helper for what was not asked before.
    let planted = credentials.find(&reference("t.example/a")).await;
    assert!(planted.notes.join(";").contains("not run while"), "{planted:?}");
    assert_eq!(user(&credentials, "g.example/b").await.as_deref(), Some("u:p"));
    assert_eq!(user(&credentials, "busybox").await.as_deref(), Some("u:p"));
    credentials.unseal();
    assert_eq!(user(&credentials, "t.example/a").await.as_deref(), Some("identity t"));
    assert_eq!(user(&credentials, "u.example/a").await.as_deref(), Some("fallback:"));
    for fine in ["g.example/a", "u.example/a", "other.example/a"] {
        assert_eq!(credentials.find(&reference(fine)).await.warnings, Vec::<String>::new(), "{fine}");
    }
    let asked = std::fs::read_to_string(path("good")).expect("log");
    assert_eq!(asked, "get g.example\nget https://index.docker.io/v1/\n");
    for (of, note) in [
        ("b.example/a", "cannot reach the metadata server"),
        ("m.example/a", "no such program"),
        ("e.example/a", "no such program"),
    ] {
        let found = credentials.find(&reference(of)).await;
        assert!(found.credential.is_none() && found.notes.join(";").contains(note), "{of}: {found:?}");
        assert!(found.warnings.len() == 1 && found.warnings[0].contains(note), "{of}: {found:?}");
    }
}
