//! ADD of what is elsewhere: files behind URLs, Git repositories, archives of every compression.

use std::fs;

use crate::context_archive::sources;
use crate::context_git::repository;
use crate::support::executor::{Build, Executor};
use crate::support::git::{Sshd, daemon};
use crate::support::image::{Image, sha256};
use crate::support::isolation::Isolation;
use crate::support::listing::Listing;
use crate::support::registry::{PASSWORD, USER};
use crate::support::scratch::Scratch;
use crate::support::skips;
use crate::support::source::source;
use crate::support::web::Web;

/// What `web.py` says of every file's age.
const MODIFIED: i64 = 784_111_777;
/// When the repository's commits were made.
const COMMITTED: i64 = 981_173_106;

/// Serves the sources as archives and as a repository, and `note.txt`; returns the repository's commit, too.
fn served() -> (Scratch, Web, String) {
    let (sources, web) = (sources(), Web::start());
    let commit = repository(&sources, &web);
    web.scratch.file("root/note.txt", "a note\n");
    fs::copy(sources.join("c.tar.gz"), web.scratch.join("root/c.tgz")).expect("scratch is writable");
    (sources, web, commit)
}

/// Builds a Dockerfile in which `$WEB` is the server's address.
fn build(isolation: Isolation, dockerfile: &Scratch, web: &Web, more: impl Fn(&mut Executor)) -> Build {
    let mut executor = Executor::new(isolation, dockerfile.path());
    let ca = executor.credential("ca.crt", web.ca());
    executor.env("SSL_CERT_FILE", &ca).only_layout();
    more(&mut executor);
    executor.run()
}

/// Returns `path text` of the paths below the given ones, with the contents or digests of files.
fn lines(image: &Image, below: &[&str]) -> String {
    let listing = Listing::of(image);
    let wanted = listing.0.iter().filter(|(path, _)| below.iter().any(|start| path.starts_with(start)));
    wanted.map(|(path, line)| format!("{path} {}\n", line.text)).collect()
}

/// What the Dockerfile of the next test makes.
const EXPECTED: &str = r##"/git dir 0755 0:0
/git/.dockerignore file 0644 0:0 "d/e/ignored\n"
/git/Dockerfile file 0644 0:0 "FROM scratch\nCOPY . /\n"
/git/absolute symlink - 0:0 -> /usr/bin/python3
/git/d dir 0755 0:0
/git/d/e dir 0755 0:0
/git/d/e/ignored file 0644 0:0 "x\n"
/git/d/e/kept file 0644 0:0 "y\n"
/git/d/f file 0644 0:0 "one\n"
/git/d/up symlink - 0:0 -> ../../../up
/git/run file 0755 0:0 "#!/bin/sh\n"
/mixed dir 0755 0:0
/mixed/e dir 0755 7:7
/mixed/e/ignored file 0644 7:7 "x\n"
/mixed/e/kept file 0644 7:7 "y\n"
/mixed/f file 0644 7:7 "two\n"
/mixed/local file 0644 7:7 "here\n"
/mixed/note.txt file 0600 7:7 "a note\n"
/mixed/up symlink - 7:7 -> ../../../up
/unpacked dir 0755 0:0
/unpacked/.dockerignore file 0644 0:0 "d/e/ignored\n"
/unpacked/Dockerfile file 0644 0:0 "FROM scratch\nCOPY . /\n"
/unpacked/absolute symlink - 0:0 -> /usr/bin/python3
/unpacked/d dir 0755 0:0
/unpacked/d/e dir 0755 0:0
/unpacked/d/e/ignored file 0644 0:0 "x\n"
/unpacked/d/e/kept file 0644 0:0 "y\n"
/unpacked/d/f file 0644 0:0 "one\n"
/unpacked/d/up symlink - 0:0 -> ../../../up
/unpacked/l symlink - 0:0 -> d/f
/unpacked/run file 0755 0:0 "#!/bin/sh\n"
/url dir 0755 0:0
/url/c.tgz file 0600 0:0 CONTENT
/url/named file 0600 0:0 "a note\n"
/url/note.txt file 0600 0:0 "a note\n"
/url/owned file 0640 1000:50 CONTENT
"##;

#[test]
fn files_and_repositories_in_every_isolation() {
    let (_sources, web, commit) = served();
    let (daemon, _service) = daemon(&web.scratch.join("root"));
    let bytes = fs::read(web.scratch.join("root/c.tgz")).expect("it is made");
    let digest = sha256(&mut &bytes[..]);
    let content = format!("{} bytes {}…", bytes.len(), &digest[.."sha256:".len() + 16]);
    // RUN comes first: in `container` isolation `/` is the image's from then on.
    let text = format!(
        "FROM $BASE\nARG SERVER=127.0.0.1\nRUN echo ran > /ran\nENV PORT={1}\n\
         ADD https://$SERVER:$PORT/files/note.txt /url/\nADD https://{0}/plain/note.txt /url/named\n\
         ADD --chown=1000:50 --chmod=640 --checksum={digest} https://{0}/cut/c.tgz /url/owned\n\
         ADD --unpack=true https://{0}/busy/c.tgz /unpacked/\nADD --unpack=false https://{0}/files/c.tgz /url/\n\
         ADD --exclude=l https://{0}/git/repo.git#v1 /git/\n\
         ADD --checksum={3} git://{2}/repo.git?branch=main&subdir=d /mixed/\n\
         ADD --chown=7 https://{0}/git/repo.git#other:d https://{0}/files/note.txt local /mixed/\n",
        web.address,
        web.address.rsplit_once(':').expect("it has a port").1,
        daemon,
        &commit[..7],
    );
    let dockerfile = source(&text, &[("local", "here\n")]);
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("ADD: remote sources")) {
        let build = build(isolation, &dockerfile, &web, |_| {}).expect(0);
        let image = build.image();
        let found = lines(&image, &["/git", "/mixed", "/unpacked", "/url"]);
        assert_eq!(found, EXPECTED.replace("CONTENT", &content), "{}", isolation.name());
        let listing = Listing::of(&image);
        let times = ["/url/note.txt", "/url/named", "/git/run"].map(|path| listing.0[path].modified);
        assert_eq!(times, [MODIFIED, 0, COMMITTED], "{}", isolation.name());
        if isolation == Isolation::Namespace {
            let left = build.state_left();
            assert!(left.iter().all(|path| path.starts_with("yadokari-inventories")), "{left:?}");
        }
    }
}

#[test]
fn a_repository_stays_one_when_asked_to() {
    if !Isolation::Namespace.allowed("ADD: --keep-git-dir") {
        return;
    }
    let (sources, web, commit) = served();
    let text = format!("FROM $BASE\nADD --keep-git-dir https://{}/git/repo.git#{commit} /kept\n", web.address);
    let build = build(Isolation::Namespace, &source(&text, &[]), &web, |_| {}).expect(0);
    let listing = Listing::of(&build.image());
    assert!(listing.0["/kept/.git/HEAD"].text.contains(&commit), "{:?}", listing.0["/kept/.git/HEAD"]);
    let sshd = match Sshd::start() {
        Ok(sshd) => sshd,
        Err(reason) => return skips::skip("ADD: Git over SSH", &reason),
    };
    let url = format!("ssh://root@127.0.0.1:{}{}/root/repo.git", sshd.port, web.scratch.path().display());
    let mut executor = Executor::new(Isolation::Namespace, sources.path());
    let text = source(&format!("FROM scratch\nADD {url}#:d /\n"), &[]);
    executor.add(&[&format!("--dockerfile={}/Dockerfile", text.path().display())]);
    executor.credential(".ssh/known_hosts", sshd.known());
    executor.credential(".ssh/id_ed25519", sshd.key());
    let build = executor.at_home().only_layout().run().expect(0);
    assert_eq!(lines(&build.image(), &["/f"]), "/f file 0644 0:0 \"one\\n\"\n");
}

#[test]
fn local_archives_of_every_compression() {
    let sources = sources();
    let text = "FROM scratch\nADD c.tar /plain/\nADD c.tar.gz c.tar.bz2 /two/\nADD c.tar.xz /xz/\nADD c.tar.zst /zst/\n\
                ADD --unpack=false c.tar c.tar.gz c.tar.bz2 c.tar.xz c.tar.zst /kept/\nADD --unpack c.tar /asked/\n";
    let dockerfile = source(text, &[]);
    let names = ["c.tar", "c.tar.gz", "c.tar.bz2", "c.tar.xz", "c.tar.zst"];
    let plain = fs::read(sources.join("c.tar")).expect("it is made");
    fs::write(sources.join("c.tar.zst"), zstd::encode_all(&plain[..], 1).expect("memory"))
        .expect("scratch is writable");
    for name in names {
        fs::copy(sources.join(name), dockerfile.join("context").join(name)).expect("scratch is writable");
    }
    for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("ADD: local archives")) {
        let mut executor = Executor::new(isolation, dockerfile.path());
        let build = executor.only_layout().run().expect(0);
        let image = build.image();
        let of = |start: &str| lines(&image, &[start]).replace(start, "");
        for start in ["/two", "/xz", "/zst", "/asked"] {
            assert_eq!(of(start), of("/plain"), "{start} in {}", isolation.name());
        }
        assert!(of("/plain").contains("/run file 0755 0:0"), "{}", of("/plain"));
        let kept = of("/kept");
        assert_eq!(kept.lines().count(), 1 + names.len(), "{kept}");
        assert!(names.iter().all(|name| kept.contains(&format!("/{name} file 0644 0:0"))), "{kept}");
    }
}

#[test]
fn what_cannot_be_added_is_told_with_its_line_and_without_secrets() {
    if !Isolation::Namespace.allowed("ADD: failures") {
        return;
    }
    let (_sources, web, commit) = served();
    let (address, zeros) = (&web.address, "0".repeat(64));
    for (add, code, text) in [
        (format!("ADD https://{address}/files/none /x"), 76, "404"),
        (format!("ADD https://{address}/auth/note.txt /x"), 77, "without credentials"),
        (format!("ADD https://builder:wrong@{address}/auth/note.txt?sig={PASSWORD} /x"), 77, "user of the URL"),
        (format!("ADD --checksum=sha256:{zeros} https://{address}/files/note.txt /x"), 76, "was asked for"),
        (format!("ADD --checksum={commit} https://{address}/git/repo.git#other /x"), 76, "was asked for"),
        (format!("ADD https://{address}/git/repo.git#none /x"), 76, "`none`"),
        (format!("ADD https://{address}/gitauth/repo.git /x"), 77, "other credentials"),
        (format!("ADD https://{address}/files/big /x"), 76, "--context-max-size"),
    ] {
        web.scratch.file("root/big", vec![1; 200 << 10]);
        let dockerfile = source(&format!("FROM scratch\n{add}\n"), &[]);
        let build = build(Isolation::Namespace, &dockerfile, &web, |executor| {
            // It is for the context's server, and there is none.
            executor.env("GIT_TOKEN", PASSWORD).add(&["--context-max-size=100k"]);
            executor.output("--metadata-file", "metadata.json");
        });
        let build = build.expect(code);
        assert!(build.stderr.contains(text), "{add}: {}", build.stderr);
        assert!(build.stderr.contains("Dockerfile:2"), "{add}: {}", build.stderr);
        assert_eq!(build.state_left(), Vec::<String>::new(), "{add}");
    }
}

#[test]
fn logins_go_where_they_belong() {
    if !Isolation::Namespace.allowed("ADD: logins") {
        return;
    }
    let (_sources, web, _) = served();
    let text = format!(
        "FROM scratch\nADD https://{USER}:{PASSWORD}@{0}/auth/note.txt /url/\nADD https://{0}/gitauth/repo.git#:d /git/\n",
        web.address
    );
    let dockerfile = source(&text, &[]);
    let by_file = build(Isolation::Namespace, &dockerfile, &web, |executor| {
        executor.credential(".netrc", format!("machine 127.0.0.1 login {USER} password {PASSWORD}\n"));
        executor.at_home().output("--metadata-file", "metadata.json");
    });
    let by_file = by_file.expect(0);
    let image = by_file.image();
    assert!(!image.config.to_string().contains(PASSWORD), "{}", image.config);
    let by_secret = |name: &str, value: &str| {
        let url = format!("FROM scratch\nADD https://{}/auth/note.txt /url/\n", web.address);
        let repository = format!("FROM scratch\nADD https://{}/gitauth/repo.git#:d /git/\n", web.address);
        let text = if name.starts_with("HTTP") { url } else { repository };
        let build = build(Isolation::Namespace, &source(&text, &[]), &web, |executor| {
            let file = executor.credential("secret", format!("{value}\n"));
            executor.add(&[&format!("--secret=id={name},src={file}")]);
        });
        build.code
    };
    let (bearer, token) = (format!("Bearer {PASSWORD}"), PASSWORD);
    for (name, value, code) in [
        ("HTTP_AUTH_TOKEN_127.0.0.1", token, 0),
        ("HTTP_AUTH_HEADER_127.0.0.1", &bearer, 0),
        ("HTTP_AUTH_TOKEN_other", token, 77),
        ("GIT_AUTH_TOKEN", token, 0),
        ("GIT_AUTH_TOKEN.127.0.0.1", token, 0),
        ("GIT_AUTH_HEADER", &bearer, 0),
        ("GIT_AUTH_TOKEN.other", token, 77),
    ] {
        assert_eq!(by_secret(name, value), code, "{name}");
    }
    // The context is from the same server, so that the token is for both.
    let by_token = build(Isolation::Namespace, &dockerfile, &web, |executor| {
        executor.env("GIT_TOKEN", PASSWORD).add(&[&format!("--context=https://{}/gitauth/repo.git", web.address)]);
    });
    let by_token = by_token.expect(0);
    assert_eq!(lines(&by_token.image(), &["/"]), lines(&image, &["/"]));
}
