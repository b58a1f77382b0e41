//! Contexts from Git: every form and server, logins, submodules, LFS, and how little a shallow fetch moves.

use std::fs;

use crate::context_archive::{built, expected, sources};
use crate::support::executor::Executor;
use crate::support::git::{Sshd, daemon, script};
use crate::support::image::sha256;
use crate::support::isolation::Isolation;
use crate::support::registry::{PASSWORD, USER};
use crate::support::scratch::Scratch;
use crate::support::skips;
use crate::support::web::Web;

/// Puts the sources into `repo.git`: on `main`, then another commit, so that history matters.
pub(crate) fn repository(sources: &Scratch, web: &Web) -> String {
    let root = web.scratch.join("root");
    let commands = format!(
        "cp -a {}/context work; cd work; git init -q -b main .; git add -Af .; git commit -qm one; git tag v1
         git update-ref refs/pull/7/head HEAD; git tag -a -m annotated v1a; git checkout -q -b other; echo two >d/f
         git commit -qam two; git checkout -q main; cd ..; git clone -q --mirror work repo.git
         git -C repo.git config uploadpack.allowAnySHA1InWant true; git -C repo.git update-server-info
         git -C repo.git rev-parse main",
        sources.path().display()
    );
    script(&root, &commands)
}

fn executor(isolation: Isolation, sources: &Scratch, web: &Web) -> Executor {
    let mut executor = Executor::new(isolation, sources.path());
    let ca = executor.credential("ca.crt", web.ca());
    executor.env("SSL_CERT_FILE", &ca);
    executor
}

#[test]
fn every_way_to_name_a_commit_gives_the_same_image() {
    if !Isolation::Namespace.allowed("context: names of commits") {
        return;
    }
    let (sources, web) = (sources(), Web::start());
    let commit = repository(&sources, &web);
    let (image, short) = (expected(&sources), &commit[..9]);
    let url = format!("{}/git/repo.git", web.address);
    for form in [
        format!("https://{url}"),
        format!("https://{url}#{commit}"),
        format!("git://{url}#refs/heads/main#{commit}"),
        format!("https://{url}#v1"),
        format!("https://{url}#v1a"),
        format!("https://{url}#refs/pull/7/head"),
        format!("https://{url}?tag=v1"),
        format!("https://{url}?branch=main&commit={short}"),
        format!("https://{url}?commit={commit}&fetch-by-commit=1"),
        format!("https://{url}#{short}"),
        format!("git://{url}#other#{short}"),
        format!("file://{}/root/work#{short}", web.scratch.path().display()),
    ] {
        let mut executor = executor(Isolation::Namespace, &sources, &web);
        // kaniko's form, git://, has .git by itself, the others do not.
        executor.add(&["--build-arg=BUILDKIT_CONTEXT_KEEP_GIT_DIR=0"]);
        assert_eq!(built(&mut executor, &form), image, "{form}");
    }
    let mut executor = executor(Isolation::Namespace, &sources, &web);
    executor.only_layout().add(&[&format!("--context=https://{url}?branch=other&commit={commit}")]);
    let refused = executor.run().expect(76);
    assert!(refused.stderr.contains("was asked for"), "{}", refused.stderr);
}

#[test]
fn a_directory_and_result_files() {
    if !Isolation::Namespace.allowed("context: git results") {
        return;
    }
    let (sources, web) = (sources(), Web::start());
    let commit = repository(&sources, &web);
    let mut executor = executor(Isolation::Namespace, &sources, &web);
    executor.only_layout().output("--git-url-file", "url").output("--git-commit-file", "commit");
    let url = format!("https://{}/git/repo.git", web.address);
    executor.add(&[&format!("--context={url}#main:d"), "--build-arg=BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"]);
    let build = executor.run().expect(0);
    assert_eq!(build.result("commit"), Some(commit));
    assert_eq!(build.result("url"), Some(url));
    assert_eq!(build.state_left(), Vec::<String>::new());
}

#[test]
fn a_repository_with_other_ids_is_refused_and_a_clone_of_it_is_a_context() {
    if !Isolation::Namespace.allowed("context: SHA-256 ids") {
        return;
    }
    let (sources, web) = (sources(), Web::start());
    let root = web.scratch.join("root");
    let commands = format!(
        "cp -a {}/context work; cd work; git init -q --object-format=sha256 -b main .; git add -Af .; git commit -qm one
         cd ..; git clone -q --mirror work repo.git; git -C repo.git update-server-info; git clone -q repo.git clone
         git -C clone rev-parse HEAD",
        sources.path().display()
    );
    let commit = script(&root, &commands);
    let (daemon, _daemon) = daemon(&root);
    let add = sources.file("Dockerfile.add", format!("FROM scratch\nADD https://{}/git/repo.git /\n", web.address));
    let add = add.display().to_string();
    for (context, dockerfile) in [
        (format!("https://{}/git/repo.git#main", web.address), "Dockerfile"),
        (format!("https://{}/git/repo.git#{commit}", web.address), "Dockerfile"),
        (format!("git://{daemon}/repo.git"), "Dockerfile"),
        (format!("file://{}/work", root.display()), "Dockerfile"),
        (root.join("clone").display().to_string(), &*add),
    ] {
        let mut executor = executor(Isolation::Namespace, &sources, &web);
        executor.env("GIT_PULL_METHOD", if context.starts_with("git:") { "git" } else { "https" });
        executor.only_layout().add(&[&format!("--context={context}"), &format!("--dockerfile={dockerfile}")]);
        let refused = executor.run().expect(76);
        for part in ["object format 'sha256'", "clone it in a step before", "repo.git"] {
            let part = if context.starts_with("file:") { part.trim_end_matches("repo.git") } else { part };
            assert!(refused.stderr.contains(part), "{context}: {}", refused.stderr);
        }
        assert_eq!(refused.state_left(), Vec::<String>::new());
    }
    // A clone is a directory like others.
    let clone = root.join("clone");
    for directory in [clone.clone(), sources.join("context")] {
        fs::write(directory.join(".dockerignore"), "d/e/ignored\n.git\n").expect("it is ours");
    }
    let mut cloned = Executor::new(Isolation::Namespace, sources.path());
    assert_eq!(built(&mut cloned, &clone.display().to_string()), expected(&sources));
}

#[test]
fn logins_over_https() {
    if !Isolation::Namespace.allowed("context: git logins") {
        return;
    }
    let (sources, web) = (sources(), Web::start());
    repository(&sources, &web);
    let image = expected(&sources);
    let url = format!("https://{}/gitauth/repo.git", web.address);
    let with = |prepare: &dyn Fn(&mut Executor), url: &str| {
        let mut executor = executor(Isolation::Namespace, &sources, &web);
        prepare(&mut executor);
        executor.only_layout().add(&[&format!("--context={url}"), "--dockerfile=Dockerfile", "--reproducible"]);
        executor.run()
    };
    type Prepare<'a> = &'a dyn Fn(&mut Executor);
    let line = format!("https://{USER}:{PASSWORD}@{}\n", web.address);
    let ways: [(&str, Prepare<'_>); 5] = [
        ("GIT_TOKEN", &|executor| {
            executor.env("GIT_TOKEN", PASSWORD);
        }),
        ("GIT_USERNAME", &|executor| {
            executor.env("GIT_USERNAME", USER).env("GIT_PASSWORD", PASSWORD);
        }),
        (".git-credentials", &|executor| {
            executor.credential(".git-credentials", &line);
            executor.at_home();
        }),
        (".gitconfig", &|executor| {
            executor.credential("store", &line);
            executor.credential(".gitconfig", "[credential]\n helper = store --file ~/store\n");
            executor.at_home();
        }),
        (".netrc", &|executor| {
            executor.credential(".netrc", format!("machine 127.0.0.1\nlogin {USER}\npassword {PASSWORD}\n"));
            executor.at_home();
        }),
    ];
    for (name, prepare) in ways {
        assert_eq!(with(prepare, &url).expect(0).image().digest, image, "{name}");
    }
    let with_user = url.replace("https://", &format!("https://{USER}:{PASSWORD}@"));
    assert_eq!(with(&|_| {}, &with_user).expect(0).image().digest, image);
    let refused = with(
        &|executor| {
            executor.env("GIT_TOKEN", "wrong");
        },
        &url,
    )
    .expect(77);
    assert!(refused.stderr.contains("GIT_TOKEN"), "{}", refused.stderr);
    let missing = with(&|_| {}, &url.replace("repo.git", "none.git").replace("gitauth", "git")).expect(76);
    assert!(missing.stderr.contains("404"), "{}", missing.stderr);
}

#[test]
fn ssh_with_key_and_known_host() {
    if !Isolation::Namespace.allowed("context: git over SSH") {
        return;
    }
    let (sources, web) = (sources(), Web::start());
    repository(&sources, &web);
    let sshd = match Sshd::start() {
        Ok(sshd) => sshd,
        Err(reason) => return skips::skip("context: git over SSH", &reason),
    };
    let url = format!("ssh://root@127.0.0.1:{}{}/root/repo.git", sshd.port, web.scratch.path().display());
    let with = |known: &str, key: bool| {
        let mut executor = Executor::new(Isolation::Namespace, sources.path());
        executor.credential(".ssh/known_hosts", known);
        if key {
            executor.credential(".ssh/id_ed25519", sshd.key());
        }
        executor.at_home().only_layout();
        executor.add(&[&format!("--context={url}"), "--dockerfile=Dockerfile", "--reproducible"]);
        executor.run()
    };
    assert_eq!(with(&sshd.known(), true).expect(0).image().digest, expected(&sources));
    let unknown = with("", true).expect(77);
    assert!(unknown.stderr.contains("not trusted"), "{}", unknown.stderr);
    let (socket, _agent) = sshd.agent();
    let mut by_agent = Executor::new(Isolation::Namespace, sources.path());
    by_agent.credential(".ssh/known_hosts", sshd.known());
    by_agent.at_home().env("SSH_AUTH_SOCK", &socket);
    assert_eq!(built(&mut by_agent, &url), expected(&sources));
    let nobody = with(&sshd.known(), false).expect(77);
    assert!(nobody.stderr.contains("no key was found"), "{}", nobody.stderr);
}

#[test]
fn submodules_and_lfs() {
    if !Isolation::Namespace.allowed("context: submodules and LFS") {
        return;
    }
    let web = Web::start();
    let sources = Scratch::new("sources");
    sources.file("Dockerfile", "FROM scratch\nCOPY . /\n");
    let root = web.scratch.join("root");
    let content = "a large file\n".repeat(1000);
    let id = sha256(&mut content.as_bytes())["sha256:".len()..].to_owned();
    fs::write(root.join(&id), &content).expect("scratch is writable");
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{id}\nsize {}\n", content.len());
    web.scratch.file("root/pointer", pointer);
    let commands = "git init -q -b main inner; cd inner; echo inner >file; git add .; git commit -qm inner; cd ..
        git clone -q --bare inner inner.git; git init -q -b main outer; cd outer
        git -c protocol.file.allow=always submodule --quiet add ../inner.git modules/inner
        git config -f .gitmodules submodule.modules/inner.url ../inner.git
        echo '*.bin filter=lfs diff=lfs merge=lfs -text' >.gitattributes; git -c filter.lfs.clean= add .
        cp ../pointer big.bin; git -c filter.lfs.process= -c filter.lfs.clean=cat -c filter.lfs.required=false add -f .
        cp ../pointer not-lfs.txt; git add not-lfs.txt; git commit -qm outer; cd ..
        git clone -q --bare outer outer.git; for r in inner outer; do git -C $r.git update-server-info; done";
    script(&root, commands);
    let context = Scratch::new("plain");
    for (name, text) in [("modules/inner/file", "inner\n".as_bytes()), ("big.bin", content.as_bytes())] {
        context.file(name, text);
    }
    for name in ["not-lfs.txt", ".gitattributes", ".gitmodules"] {
        context.file(name, fs::read(root.join("outer").join(name)).expect("it is made"));
    }
    let layout = |context: &str| {
        let mut executor = executor(Isolation::Namespace, &sources, &web);
        executor.only_layout().add(&[&format!("--context={context}"), "--reproducible"]);
        executor.run()
    };
    let expected = layout(&context.path().display().to_string()).expect(0).image().digest;
    let url = format!("https://{}/git/outer.git", web.address);
    assert_eq!(layout(&url).expect(0).image().digest, expected);
    assert_ne!(layout(&format!("{url}?submodules=false")).expect(0).image().digest, expected);
    let sshd = Sshd::start().map_err(|reason| skips::skip("context: LFS over SSH", &reason)).ok();
    let over_ssh = |sshd: &Sshd| {
        let mut executor = executor(Isolation::Namespace, &sources, &web);
        executor.credential(".ssh/known_hosts", sshd.known());
        executor.credential(".ssh/id_ed25519", sshd.key());
        let url = format!("ssh://root@127.0.0.1:{}{}/outer.git", sshd.port, root.display());
        executor.at_home().only_layout().add(&[&format!("--context={url}"), "--reproducible"]);
        executor.run()
    };
    if let Some(sshd) = &sshd {
        let none = over_ssh(sshd).expect(76);
        assert!(none.stderr.contains("big.bin"), "{}", none.stderr);
        let endpoint = url.replace("/git/", "/gitauth/");
        sshd.serve_lfs(&format!("{endpoint}/info/lfs"), &format!("Bearer {PASSWORD}"));
        assert_eq!(over_ssh(sshd).expect(0).image().digest, expected);
        sshd.serve_lfs(&format!("{endpoint}/info/lfs"), "Bearer wrong");
        assert!(over_ssh(sshd).expect(77).stderr.contains("big.bin"));
    }
    fs::remove_file(root.join(&id)).expect("it is there");
    let missing = layout(&url).expect(76);
    assert!(missing.stderr.contains("big.bin"), "{}", missing.stderr);
}

#[test]
fn a_shallow_fetch_moves_little() {
    if !Isolation::Namespace.allowed("context: shallow fetch") {
        return;
    }
    let web = Web::start();
    let sources = Scratch::new("sources");
    sources.file("Dockerfile", "FROM scratch\nCOPY README /\n");
    let commands = "git init -q -b main big; cd big; echo r >README; mkdir d
        for i in $(seq 5000); do echo file $i >d/$i; done; git add .; git commit -qm first
        for i in $(seq 199); do head -c 20000 /dev/urandom | base64 >d/1; git commit -qam $i; done
        cd ..; git clone -q --bare big big.git";
    script(&web.scratch.join("root"), commands);
    let bytes = |more: &str| {
        let mut executor = executor(Isolation::Namespace, &sources, &web);
        executor.only_layout().add(&[&format!("--context=https://{}/git/big.git", web.address), more]);
        let stderr = executor.run().expect(0).stderr;
        let line = stderr.lines().find(|line| line.contains("bytes received")).expect("it is told").to_owned();
        let number = line.split(", ").last().and_then(|rest| rest.split(' ').next()).expect("a number");
        number.parse::<u64>().expect("a number")
    };
    let (shallow, full) = (bytes("--git=depth=1"), bytes("--git=depth=0"));
    eprintln!("git: a shallow fetch moves {shallow} bytes, a full one {full}");
    assert!(shallow * 4 < full, "{shallow} of {full}");
}
