//! `--registries-conf`: the same file sends us to the same places as it sends skopeo.

use std::net::IpAddr;
use std::process::Command;

use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::process::{self, SHORT};
use crate::support::proxy::Proxy;
use crate::support::registry::Registry;
use crate::support::scratch::Scratch;
use crate::support::scripted::machine_address;
use crate::support::skips;
use crate::support::source::{one_file, source};

/// What is in the file, what is pulled, and which places are asked for its manifest, in whatever order; the first of
/// them that has it is the last in time. `A`, `B` and `C` are registries with the same content, `HOST` and `PORT` are
/// those of `A`, `@` is the content's digest. Of prefixes that are as long, the first counts.
type Row = (&'static str, &'static str, &'static [&'static str], bool);

const ROWS: &[Row] = &[
    (
        "[[registry]]\nlocation='gone.invalid'\n[[registry.mirror]]\nlocation='A/hub'\ninsecure=true",
        "gone.invalid/team/app:1",
        &["A hub/team/app:1"],
        true,
    ),
    (
        "[[registry]]\nlocation='gone.invalid'\n[[registry.mirror]]\nlocation='A/none'\ninsecure=true\n\
         [[registry.mirror]]\nlocation='B'\ninsecure=true",
        "gone.invalid/team/app:1",
        &["A none/team/app:1", "B team/app:1"],
        true,
    ),
    (
        "[[registry]]\nprefix='gone.invalid/x'\nlocation='B/team'\ninsecure=true",
        "gone.invalid/x/app:1",
        &["B team/app:1"],
        true,
    ),
    (
        "[[registry]]\nprefix='gone.invalid/x/y'\nlocation='B/team/app'\ninsecure=true",
        "gone.invalid/x/y@",
        &["B team/app@"],
        true,
    ),
    (
        "[[registry]]\nprefix='docker.io/library'\nlocation='A/hub/library'\ninsecure=true\n\
         [[registry]]\nprefix='docker.io'\nlocation='B'\ninsecure=true",
        "docker.io/box:1",
        &["A hub/library/box:1"],
        true,
    ),
    (
        "[[registry]]\nlocation='C'\ninsecure=true\n[[registry.mirror]]\nlocation='A'\ninsecure=true\n\
         pull-from-mirror='digest-only'\n[[registry.mirror]]\nlocation='B/none'\ninsecure=true\n\
         pull-from-mirror='tag-only'",
        "C/team/app:1",
        &["B none/team/app:1", "C team/app:1"],
        true,
    ),
    (
        "[[registry]]\nlocation='C'\ninsecure=true\n[[registry.mirror]]\nlocation='B'\ninsecure=true\n\
         pull-from-mirror='tag-only'\n[[registry.mirror]]\nlocation='A'\ninsecure=true\n\
         pull-from-mirror='digest-only'",
        "C/team/app@",
        &["A team/app@"],
        true,
    ),
    (
        "[[registry]]\nlocation='C'\ninsecure=true\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation='A'\n\
         insecure=true",
        "C/team/app:1",
        &["C team/app:1"],
        true,
    ),
    (
        "[[registry]]\nprefix='*.invalid'\n[[registry.mirror]]\nlocation='A/hub'\ninsecure=true",
        "x.gone.invalid/team/app:1",
        &["A hub/team/app:1"],
        true,
    ),
    (
        "[[registry]]\nprefix='*.gone.invalid'\nblocked=true\n[[registry]]\nprefix='a.gone.invalid'\nlocation='A'\n\
         insecure=true",
        "a.gone.invalid/team/app:1",
        &[],
        false,
    ),
    (
        "[[registry]]\nprefix='*.invalid'\nblocked=true\n[[registry]]\nprefix='gone.invalid'\nlocation='A'\n\
         insecure=true",
        "gone.invalid/team/app:1",
        &["A team/app:1"],
        true,
    ),
    (
        "[[registry]]\nlocation='C'\ninsecure=true\n[[registry.mirror]]\nlocation='A'\ninsecure=true\n\
         [[registry]]\nlocation='C/team'\ninsecure=true\n[[registry.mirror]]\nlocation='B/team'\ninsecure=true",
        "C/team/app:1",
        &["B team/app:1"],
        true,
    ),
    (
        "[[registry]]\nlocation='C'\ninsecure=true\nblocked=true\n[[registry.mirror]]\nlocation='A'\ninsecure=true",
        "C/team/app:1",
        &["A team/app:1"],
        true,
    ),
    (
        "[[registry]]\nlocation='C'\ninsecure=true\nblocked=true\n[[registry.mirror]]\nlocation='A/none'\n\
         insecure=true",
        "C/team/app:1",
        &["A none/team/app:1"],
        false,
    ),
    // What is insecure as a mirror of another is so as nothing else, wherever the file says more of it.
    (
        "[[registry]]\nlocation='gone.invalid'\n[[registry.mirror]]\nlocation='A'\ninsecure=true",
        "A/team/app:1",
        &[],
        false,
    ),
    (
        "[[registry]]\nlocation='A'\n[[registry]]\nlocation='gone.invalid'\n[[registry.mirror]]\nlocation='A'\n\
         insecure=true",
        "gone.invalid/team/app:1",
        &["A team/app:1"],
        true,
    ),
    (
        "[[registry]]\nlocation='gone.invalid'\n[[registry.mirror]]\nlocation='A'\ninsecure=true\n\
         [[registry]]\nlocation='A'",
        "gone.invalid/team/app:1",
        &["A team/app:1"],
        true,
    ),
    // A prefix with a tag is compared with names that have none; a port stays behind the name of a mirror.
    (
        "[[registry]]\nprefix='C/team/app:1'\nlocation='A'\ninsecure=true\n[[registry]]\nlocation='C'\n\
         insecure=true",
        "C/team/app:1",
        &["C team/app:1"],
        true,
    ),
    (
        "[[registry]]\nprefix='*.invalid'\n[[registry.mirror]]\nlocation='HOST'\ninsecure=true",
        "x.invalid:PORT/team/app:1",
        &["A team/app:1"],
        true,
    ),
    (
        "[[registry]]\nprefix='*.invalid'\n[[registry.mirror]]\nlocation='A'\ninsecure=true",
        "x.invalid:PORT/team/app:1",
        &[],
        false,
    ),
    ("[[registry]]\nlocation='C'\ninsecure=true\nblocked=true", "C/team/app:1", &[], false),
    ("[[registry]]\nlocation='C/other'\ninsecure=true", "C/team/app:1", &[], false),
];

/// The three registries of one run.
struct Places([Proxy; 3]);

impl Places {
    /// They are not on loopback, where plain HTTP is spoken unasked.
    fn start(registry: &Registry, address: IpAddr) -> Self {
        Self(std::array::from_fn(|_| Proxy::start_at(address, &registry.address, &[])))
    }

    /// Writes the addresses in place of `A`, `B` and `C`.
    fn fill(&self, text: &str, digest: &str) -> String {
        let names = ["A", "B", "C"].into_iter().zip(&self.0);
        let (host, port) = self.0[0].address.rsplit_once(':').expect("it has a port");
        let text = text.replace('@', &format!("@{digest}")).replace("PORT", port).replace("HOST", host);
        names.fold(text, |text, (name, proxy)| text.replace(name, &proxy.address))
    }

    /// Lists whom manifests were asked of.
    fn asked(&self, digest: &str) -> Vec<String> {
        let all = ["A", "B", "C"].into_iter().zip(&self.0).flat_map(|(name, proxy)| {
            let requests = proxy.requests();
            requests.into_iter().map(move |request| format!("{name} {request}"))
        });
        let known = |line: String| {
            let (place, path) = (line.get(..1)?.to_owned(), line.split("/v2/").nth(1)?.to_owned());
            let (repository, identifier) = path.split_once("/manifests/")?;
            let identifier = if identifier == digest { "@".to_owned() } else { format!(":{identifier}") };
            Some(format!("{place} {repository}{identifier}"))
        };
        let mut asked: Vec<String> = all.filter_map(known).collect();
        asked.dedup();
        asked
    }
}

/// Pushes the image under all the names that rows ask for, and returns its digest.
fn fill(registry: &Registry) -> String {
    let source = one_file();
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    for name in ["team/app:1", "hub/team/app:1", "hub/library/box:1"] {
        executor.push_plain(registry, name);
    }
    executor.output("--digest-file", "digest").run().expect(0).result("digest").expect("a digest")
}

#[test]
fn the_places_that_skopeo_asks() {
    let name = "registries_conf: the places that skopeo asks";
    let Some(address) = machine_address().filter(|_| Isolation::Namespace.allowed(name)) else {
        return skips::skip(name, "this machine has no address but loopback, or no namespaces");
    };
    let registry = Registry::plain();
    let digest = fill(&registry);
    let mut wrong = Vec::new();
    for (number, (conf, image, expected, succeeds)) in ROWS.iter().enumerate() {
        let places = Places::start(&registry, address);
        let scratch = Scratch::new("conf");
        let file = scratch.file("registries.conf", places.fill(conf, &digest));
        let finished = process::run(
            Command::new("skopeo")
                .arg("--registries-conf")
                .arg(&file)
                .args(["inspect", "--no-tags"])
                .arg(format!("docker://{}", places.fill(image, &digest))),
            SHORT,
        );
        assert_eq!(
            (finished.code == 0, places.asked(&digest)),
            (*succeeds, strings(expected)),
            "skopeo: {conf}\n{}",
            finished.stderr
        );

        let places = Places::start(&registry, address);
        let text = format!("FROM {}\nCOPY file /more\n", places.fill(image, &digest));
        let source = source(&text, &[("file", "more\n")]);
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        let file = executor.credential("registries.conf", places.fill(conf, &digest));
        // By the flag and by the variable in turn.
        if number % 2 == 0 {
            executor.add(&[&format!("--registries-conf={file}")]);
        } else {
            executor.env("CONTAINERS_REGISTRIES_CONF", &file);
        }
        let build = executor.only_layout().run();
        let asked = places.asked(&digest);
        if (build.code == 0, &asked) != (*succeeds, &strings(expected)) {
            wrong.push(format!("{image} of {conf}: {asked:?} asked instead of {expected:?}\n{}", build.stderr));
        } else if *succeeds {
            build.image().verify();
            let answered = expected.last().and_then(|place| place.get(..1));
            for (name, proxy) in ["A", "B", "C"].into_iter().zip(&places.0) {
                assert_eq!(proxy.count("GET", "/blobs/") > 0, Some(name) == answered, "blobs of {name}: {conf}");
            }
        } else if conf.contains("blocked") {
            assert_eq!(build.code, 77, "{}", build.stderr);
            assert!(build.stderr.contains("block"), "{}", build.stderr);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn what_is_insecure_by_the_file_is_so_for_a_push_and_a_blocked_registry_gets_none() {
    if !Isolation::Namespace.allowed("registries_conf: push") {
        return;
    }
    let registry = Registry::plain();
    let source = one_file();
    for (more, code) in [("insecure = true", 0), ("insecure = true\nblocked = true", 77)] {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        let text = format!("[[registry]]\nlocation = '{}/team'\n{more}\n", registry.address);
        let file = executor.credential("registries.conf", text);
        executor
            .add(&[&format!("--registries-conf={file}"), &format!("--destination={}/team/app:1", registry.address)]);
        executor.output("--digest-file", "digest").run().expect(code);
    }
    assert!(registry.digest("team/app:1").is_some());
}

#[test]
fn a_file_that_says_something_else_is_told_or_refused() {
    let source = one_file();
    for (text, code, expected) in [
        ("unqualified-search-registries = ['quay.io']\n", 0, "warning: unqualified-search-registries do not hold here"),
        ("[registries.search]\nregistries = ['quay.io']\n", 72, "version 1"),
        ("[[registry]]\nlocation = \n", 72, "line 2"),
        (
            "[[registry]]\nlocation = 'a.example'\n[[registry]]\nprefix = 'b.example'\nlocation = 'a.example'\n\
             insecure = true\n",
            72,
            "[[registry]] a.example and b.example have the location a.example, and another `insecure`",
        ),
        (
            "[[registry]]\nprefix = 'a.example/x:1'\nlocation = 'b.example'\n",
            0,
            "warning: [[registry]] a.example/x:1 holds for nothing",
        ),
    ] {
        let mut executor = Executor::new(Isolation::Namespace, source.path());
        let file = executor.credential("registries.conf", text);
        executor.add(&[&format!("--registries-conf={file}")]);
        let build = executor.only_layout().run().expect(code);
        assert!(build.stderr.contains(expected), "{}", build.stderr);
    }
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    executor.add(&["--registries-conf=/nowhere"]).only_layout().run().expect(72);
}

#[test]
fn a_registry_whose_mirrors_are_not_for_a_tag_is_not_asked_itself_when_that_is_not_wanted() {
    let (registry, mirror) = (Proxy::start("127.0.0.1:1", &[]), Proxy::start("127.0.0.1:1", &[]));
    let source = source(&format!("FROM {}/team/app:1\nCOPY file /more\n", registry.address), &[("file", "more\n")]);
    let mut executor = Executor::new(Isolation::Namespace, source.path());
    let text = format!(
        "[[registry]]\nlocation = '{}'\ninsecure = true\nmirror-by-digest-only = true\n[[registry.mirror]]\n\
         location = '{}'\ninsecure = true\n",
        registry.address, mirror.address
    );
    let file = executor.credential("registries.conf", text);
    executor.add(&[&format!("--registries-conf={file}"), "--skip-default-registry-fallback"]);
    let build = executor.only_layout().run().expect(76);
    assert!(build.stderr.contains("--skip-default-registry-fallback keeps the registry itself"), "{}", build.stderr);
    assert_eq!((registry.requests(), mirror.requests()), (vec![], vec![]));
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}
