//! Each thing that a key is made of, changed alone: a key that does not notice is a wrong hit.

use super::*;
use crate::dockerfile::{MountOwner, Sharing};
use crate::image::LayerContent;
use crate::oci::{Descriptor, DiffId, History, media_type};
use crate::request::{GitSource, Host, HttpsSource, LimitedResource, ResourceLimit, SecretUrl};

type Changes<T> = Vec<(&'static str, Box<dyn Fn(&mut T)>)>;

/// Changes a thing in each way and returns which two have the same key, the first being the thing as it was.
fn same<T: Clone>(thing: &T, changes: &Changes<T>, key: impl Fn(&T) -> String) -> Vec<String> {
    let mut keys: Vec<(&str, String)> = vec![("nothing", key(thing))];
    let mut same = Vec::new();
    for (what, change) in changes {
        let mut changed = thing.clone();
        change(&mut changed);
        let key = key(&changed);
        same.extend(keys.iter().filter(|known| known.1 == key).map(|known| format!("{what} is as {}", known.0)));
        keys.push((what, key));
    }
    same
}

macro_rules! changes {
    ($($what:literal => $change:expr),* $(,)?) => { vec![$(($what, Box::new($change))),*] };
}

fn check<T: Clone>(thing: &T, changes: &Changes<T>, key: impl Fn(&T) -> String) {
    assert_eq!(same(thing, changes, key), [""; 0]);
}

#[test]
fn every_setting_that_decides_a_layer_counts() {
    let layers: Changes<BuildRequest> = changes! {
        "no compression" => |r| r.compression = Compression::Uncompressed,
        "zstd" => |r| r.compression = Compression::Zstd { level: 6 },
        "a level" => |r| r.compression = Compression::Gzip { level: 7 },
        "a latest time" => |r| r.epoch = Some(0),
        "another" => |r| r.epoch = Some(1),
        "a path that is left out" => |r| r.ignore_paths = vec!["/a".into()],
        "two" => |r| r.ignore_paths = vec!["/a".into(), "/b".into()],
    };
    let mut request = request(&[], None);
    request.compression = Compression::Gzip { level: 6 };
    let settings = |request: &BuildRequest| Settings::new(request, Fidelity::Strict);
    check(&request, &layers, |request| settings(request).layers.to_string());
    let limit = |soft| ResourceLimit { resource: LimitedResource::Nofile, soft, hard: None };
    let mut runs = layers;
    runs.extend::<Changes<BuildRequest>>(changes! {
        "a mode" => |r| r.snapshot_mode = SnapshotMode::Redo,
        "another mode" => |r| r.snapshot_mode = SnapshotMode::Time,
        "a limit" => move |r| r.run.limits = vec![limit(Some(1))],
        "no limit" => move |r| r.run.limits = vec![limit(None)],
        "shared memory" => |r| r.run.shared_memory = Some(1),
    });
    check(&request, &runs, |request| settings(request).runs.to_string());
    assert_ne!(settings(&request).runs, Settings::new(&request, Fidelity::Lossy).runs);
}

#[test]
fn every_field_of_run_counts() {
    let step = RunStep {
        argv: vec!["a".into(), "b".into()],
        environment: vec![("A".into(), "1".into())],
        proxies: Vec::new(),
        user: "u".into(),
        directory: "/d".into(),
        network: RunNetwork::Host,
        hosts: Vec::new(),
        hostname: None,
        mounts: Vec::new(),
    };
    let host = |name: &str, address: &str| Host { name: name.into(), address: address.parse().expect("an address") };
    let (one, two, three) = (host("h", "10.0.0.1"), host("h", "10.0.0.2"), host("i", "10.0.0.1"));
    let changes: Changes<RunStep> = changes! {
        "words" => |s| s.argv = vec!["ab".into()],
        "no words" => |s| s.argv = vec![],
        "an empty word" => |s| s.argv.push(String::new()),
        "a value" => |s| s.environment[0].1 = "2".into(),
        "a name" => |s| s.environment[0].0 = "B".into(),
        "no variable" => |s| s.environment.clear(),
        "a user" => |s| s.user = "v".into(),
        "a directory" => |s| s.directory = "/e".into(),
        "the other way round" => |s| (s.user, s.directory) = ("/d".into(), "u".into()),
        "a network" => |s| s.network = RunNetwork::None,
        "a host" => move |s| s.hosts.push(one.clone()),
        "its address" => move |s| s.hosts.push(two.clone()),
        "its name" => move |s| s.hosts.push(three.clone()),
        "a host name" => |s| s.hostname = Some("h".into()),
        "another host name" => |s| s.hostname = Some("i".into()),
    };
    let settings = Settings::new(&request(&[], None), Fidelity::Strict);
    let key = |step: &RunStep| run(Parts::new("run"), step, &[], &settings).key().to_string();
    check(&step, &changes, key);
    let proxied = RunStep { proxies: vec![("http_proxy".into(), "x".into())], ..step.clone() };
    assert_eq!(key(&step), key(&proxied), "proxies decide no result");
}

/// The cache of the mounts below.
fn cache_mount() -> CacheMount {
    CacheMount {
        id: "i".into(),
        sharing: Sharing::Shared,
        from: None,
        source: "/".into(),
        owner: MountOwner::default(),
        read_only: false,
    }
}

/// Mounts that all show something else.
fn different_mounts() -> Vec<Mounted> {
    let bind = |source: &str, read_only| Mounted::Bind { from: CopyFrom::Context, source: source.into(), read_only };
    let cache = cache_mount();
    let owner = |mode, uid, gid| MountOwner { mode, uid, gid };
    let secret = |id: &str, required, variable: Option<&str>, owner| Mounted::Secret {
        id: id.into(),
        required,
        variable: variable.map(str::to_owned),
        owner,
    };
    let ssh = |id: &str, required, owner| Mounted::Ssh { id: id.into(), required, owner };
    let (none, mut whats) = (MountOwner::default(), vec![bind("/", true), bind("/a", true), bind("/", false)]);
    whats.extend([
        Mounted::Cache(cache.clone()),
        Mounted::Cache(CacheMount { id: "j".into(), ..cache.clone() }),
        Mounted::Cache(CacheMount { source: "/a".into(), ..cache.clone() }),
        Mounted::Cache(CacheMount { read_only: true, ..cache.clone() }),
        Mounted::Tmpfs { size: None },
        Mounted::Tmpfs { size: Some(1) },
        secret("i", false, None, none),
        secret("j", false, None, none),
        secret("i", true, None, none),
        secret("i", false, Some("V"), none),
        ssh("i", false, none),
        ssh("j", false, none),
        ssh("i", true, none),
        Mounted::Script("x".into()),
        Mounted::Script("y".into()),
    ]);
    for owner in [owner(Some(1), None, None), owner(None, Some(1), None), owner(None, None, Some(1))] {
        whats.extend([
            Mounted::Cache(CacheMount { owner, ..cache.clone() }),
            secret("i", false, None, owner),
            ssh("i", false, owner),
        ]);
    }
    whats
}

#[test]
fn every_field_of_a_mount_counts() {
    let (cache, whats) = (cache_mount(), different_mounts());
    let bind = || Mounted::Bind { from: CopyFrom::Context, source: "/".into(), read_only: true };
    let step = |mounts| RunStep {
        argv: Vec::new(),
        environment: Vec::new(),
        proxies: Vec::new(),
        user: String::new(),
        directory: "/".into(),
        network: RunNetwork::Host,
        hosts: Vec::new(),
        hostname: None,
        mounts,
    };
    let settings = Settings::new(&request(&[], None), Fidelity::Strict);
    let key = |mounts: &[(Option<&str>, Mounted, Option<&str>)]| {
        let shown = mounts.iter().map(|mount| mount.2.map(|text| Part::new("files", Digest::of(text.as_bytes()))));
        let mount = |mount: &(Option<&str>, Mounted, Option<&str>)| {
            let (target, what, _) = mount;
            Mount { target: target.map(str::to_owned), what: what.clone() }
        };
        run(Parts::new("run"), &step(mounts.iter().map(mount).collect()), &shown.collect::<Vec<_>>(), &settings).key()
    };
    let mut keys = vec![("nothing".to_owned(), key(&[]))];
    for what in whats {
        for target in [Some("/m"), Some("/n"), Some("-"), None] {
            keys.push((format!("{target:?} {what:?}"), key(&[(target, what.clone(), None)])));
        }
        keys.push((format!("shows {what:?}"), key(&[(None, what.clone(), Some("a"))])));
        keys.push((format!("shows another {what:?}"), key(&[(None, what, Some("b"))])));
    }
    let two = |one, other| key(&[(Some("/m"), bind(), one), (Some("/n"), bind(), other)]);
    keys.push(("the first of two".to_owned(), two(Some("a"), Some("b"))));
    keys.push(("the second of two".to_owned(), two(Some("b"), Some("a"))));
    let same: Vec<String> = keys
        .iter()
        .enumerate()
        .flat_map(|(number, (what, key))| {
            keys[..number]
                .iter()
                .filter(move |known| known.1 == *key)
                .map(move |known| format!("{what} is as {}", known.0))
        })
        .collect();
    assert_eq!(same, [""; 0]);
    let other = CacheMount { sharing: Sharing::Locked, from: Some(CopyFrom::Context), ..cache.clone() };
    let of = |cache| key(&[(None, Mounted::Cache(cache), None)]);
    assert_eq!(of(cache), of(other), "what a cache begins with, and who waits for it, decide no result");
}

#[test]
fn every_field_of_copy_counts() {
    let git = |url: &str| GitSource {
        url: SecretUrl(url.to_owned()),
        reference: None,
        commit: None,
        checksum: None,
        sub_directory: None,
        depth: None,
        submodules: true,
        skip_tls_verify: false,
        keep_git_directory: false,
    };
    let inline = |name: &str, content: &str| CopySource::Inline { name: name.into(), content: content.into() };
    let url = |name: &str, url: &str, checksum: Option<&str>| CopySource::Url {
        name: name.into(),
        source: HttpsSource { url: SecretUrl(url.into()), checksum: checksum.map(|text| Digest::of(text.as_bytes())) },
    };
    let step = CopyStep { link: false, ..CopyStep::plain(CopyFrom::Context, "a".into(), "/d") };
    let one = |source: CopySource| move |step: &mut CopyStep| step.sources = vec![source.clone()];
    let mut changes: Changes<CopyStep> = changes! {
        "a named context" => |s| s.from = CopyFrom::Named("n".into()),
        "a stage" => |s| s.from = CopyFrom::Stage(crate::plan::StageId(0)),
        "a path" => one(CopySource::Path("b".into())),
        "two paths" => |s| s.sources.push(CopySource::Path("b".into())),
        "two the other way round" => |s| s.sources.insert(0, CopySource::Path("b".into())),
        "a destination" => |s| s.destination = "/e".into(),
        "a directory" => |s| s.destination = "/d/".into(),
        "an owner" => |s| s.chown = Some("u".into()),
        "another" => |s| s.chown = Some("v".into()),
        "--link" => |s| s.link = true,
        "--parents" => |s| s.parents = true,
        "--exclude" => |s| s.excludes = vec!["x".into()],
        "another pattern" => |s| s.excludes = vec!["y".into()],
        "ADD" => |s| s.unpack = Unpack::Local,
        "ADD --unpack" => |s| s.unpack = Unpack::Everything,
        "a text" => one(inline("f", "x")),
        "its content" => one(inline("f", "y")),
        "its name" => one(inline("g", "x")),
        "between both" => one(inline("fx", "")),
        "a URL" => one(url("f", "https://h/f", None)),
        "its host" => one(url("f", "https://i/f", None)),
        "its file" => one(url("g", "https://h/f", None)),
        "its checksum" => one(url("f", "https://h/f", Some("x"))),
        "another checksum" => one(url("f", "https://h/f", Some("y"))),
        "a repository" => one(CopySource::Git(git("https://h/r"))),
        "another repository" => one(CopySource::Git(git("https://h/s"))),
        "its branch" => one(CopySource::Git(GitSource { reference: Some("b".into()), ..git("https://h/r") })),
        "its directory" => one(CopySource::Git(GitSource { sub_directory: Some("b".into()), ..git("https://h/r") })),
        "no submodules" => one(CopySource::Git(GitSource { submodules: false, ..git("https://h/r") })),
        ".git" => one(CopySource::Git(GitSource { keep_git_directory: true, ..git("https://h/r") })),
    };
    for mode in ["644", "755", "u+x", "u-x", "g+x", "u+w", "g=u"] {
        let text = format!("FROM a\nCOPY --chmod={mode} a /d\n");
        let plan = plan_with(&text, &request(&[], None), |_, _| {}).expect(mode);
        let Action::Copy(CopyStep { chmod: Some(chmod), .. }) = plan.stages[0].steps[0].action.clone() else {
            panic!("{mode} is no mode");
        };
        changes.push(("--chmod", Box::new(move |step| step.chmod = Some(chmod.clone()))));
    }
    let settings = Settings::new(&request(&[], None), Fidelity::Strict);
    let of = |text: &str| Part::new("files", Digest::of(text.as_bytes()));
    let key = |step: &CopyStep, text| copy(Parts::new("copy"), step, &[Some(of(text))], &settings).key().to_string();
    check(&step, &changes, |step| key(step, "a"));
    assert_ne!(key(&step, "a"), key(&step, "b"), "what is copied");
}

#[test]
fn every_setting_is_in_the_keys_of_the_steps_it_is_for() {
    let settings = |layers: &str, runs: &str| Settings {
        layers: Digest::of(layers.as_bytes()),
        runs: Digest::of(runs.as_bytes()),
    };
    let (one, layers, runs) = (settings("a", "a"), settings("b", "a"), settings("a", "b"));
    let step = CopyStep::plain(CopyFrom::Context, "a".into(), "/d");
    let copied =
        |settings| copy(Parts::new("copy"), &step, &[Some(Part::new("files", Digest::of(b"")))], settings).key();
    assert_ne!(copied(&one), copied(&layers));
    assert_eq!(copied(&one), copied(&runs), "how RUN's changes are found is nothing to COPY");
    let step = WorkdirStep { path: "/w".into(), user: "u".into() };
    let made = |step: &WorkdirStep, settings| workdir(Parts::new("workdir"), step, settings).key();
    assert_ne!(made(&step, &one), made(&step, &layers));
    for other in [WorkdirStep { path: "/x".into(), ..step.clone() }, WorkdirStep { user: "v".into(), ..step.clone() }] {
        assert_ne!(made(&step, &one), made(&other, &one), "{other:?}");
    }
    let plan = plan_with("FROM a\nRUN x\n", &request(&[], None), |_, _| {}).expect("a plan");
    let Action::Run(step) = &plan.stages[0].steps[0].action else { panic!("RUN runs") };
    let ran = |settings| run(Parts::new("run"), step, &[], settings).key();
    assert_ne!(ran(&one), ran(&runs));
}

fn layer_of(text: &str) -> Layer {
    let digest = Digest::of(text.as_bytes());
    let diff_id = DiffId(digest.clone());
    Layer { descriptor: Descriptor::new(media_type::OCI_LAYER, digest, 1), diff_id, content: LayerContent::Stored }
}

#[test]
fn what_stands_for_files_says_all_of_them() {
    let platform = |text: &str| -> Platform { text.parse().expect("a platform") };
    let layer = layer_of;
    let (amd64, arm64) = (platform("linux/amd64"), platform("linux/arm64"));
    let (a, b) = (Frames::new("a").key(), Frames::new("b").key());
    let images = |layers: &[Layer]| image_files("r", layers).digest;
    let all = [
        base_state(&[], &amd64).to_string(),
        base_state(&[], &arm64).to_string(),
        base_state(&[layer("a")], &amd64).to_string(),
        base_state(&[layer("b")], &amd64).to_string(),
        base_state(&[layer("a"), layer("b")], &amd64).to_string(),
        base_state(&[layer("b"), layer("a")], &amd64).to_string(),
        state_after(&a, &b).to_string(),
        state_after(&b, &a).to_string(),
        state_after(&a, &a).to_string(),
        made(None).to_string(),
        made(Some(&Digest::of(b"a"))).to_string(),
        made(Some(&Digest::of(b"b"))).to_string(),
        stage_files("s", &a).digest.hex().to_owned(),
        stage_files("s", &b).digest.hex().to_owned(),
        images(&[]).hex().to_owned(),
        images(&[layer("a")]).hex().to_owned(),
        images(&[layer("b")]).hex().to_owned(),
        start("k", &amd64, None).key().to_string(),
        start("l", &amd64, None).key().to_string(),
        start("k", &arm64, None).key().to_string(),
        start("k", &amd64, Some(("before", &a))).key().to_string(),
        start("k", &amd64, Some(("before", &b))).key().to_string(),
    ];
    for (number, key) in all.iter().enumerate() {
        assert!(!all[..number].contains(key), "number {number} is as another");
    }
    // Names are for people: a stage that is renamed is the same stage.
    let of = |part: Part| Parts::new("k").part(part).key();
    assert_eq!(of(stage_files("s", &a)), of(stage_files("t", &a)));
    assert_eq!(of(image_files("s", &[])), of(image_files("t", &[])));
}

#[test]
fn every_part_of_an_image_decides_when_it_was_made() {
    let config = ImageConfig::scratch("linux/amd64".parse().expect("a platform"));
    let line = |created: Option<&str>, text: &str, empty_layer| History {
        created: created.map(str::to_owned),
        created_by: Some(text.to_owned()),
        empty_layer,
        ..History::default()
    };
    let lines = [line(None, "a", true), line(None, "b", true), line(Some("1"), "a", true), line(None, "a", false)];
    let [one, text, time, layer] = lines;
    let changes: Changes<ImageConfig> = changes! {
        "a line" => move |c| c.history = vec![one.clone()],
        "its text" => move |c| c.history = vec![text.clone()],
        "its time" => move |c| c.history = vec![time.clone()],
        "its layer" => move |c| c.history = vec![layer.clone()],
        "a user" => |c| c.config.user = "u".into(),
        "a label" => |c| drop(c.config.labels.insert("a".into(), "b".into())),
        "an author" => |c| c.author = Some("a".into()),
        "a platform" => |c| c.platform = "linux/arm64".parse().expect("a platform"),
        "something else" => |c| drop(c.extra.insert("x".into(), true.into())),
    };
    check(&config, &changes, |config| image(config, &[]).to_string());
    assert_ne!(image(&config, &[]), image(&config, &[layer_of("a")]));
    let created = ImageConfig { created: Some("1".into()), ..config.clone() };
    assert_eq!(image(&config, &[]), image(&created, &[]), "its own time is what is asked for");
}
