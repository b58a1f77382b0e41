//! The same sources give the same image, whichever way they come and in every isolation; large ones in little memory.

use std::fs::{self, File};
use std::io::Write as _;
use std::thread;

use crate::context_archive::{expected, sources};
use crate::context_bucket::{azure_blob, gcs_objects};
use crate::context_git::repository;
use crate::support::executor::{Build, Executor};
use crate::support::git::{Sshd, daemon, script};
use crate::support::isolation::Isolation;
use crate::support::objects::{AZURE_ACCOUNT, AZURE_KEY, ObjectStore};
use crate::support::scratch::Scratch;
use crate::support::skips;
use crate::support::web::Web;

/// A way for a context to come: its name, the context, and what else the executor needs for it.
type Form<'a> = (&'a str, String, Prepare<'a>);
type Prepare<'a> = Box<dyn Fn(&mut Executor) + Sync + 'a>;

#[test]
fn every_form_gives_the_same_image_in_every_isolation() {
    let (sources, web) = (sources(), Web::start());
    repository(&sources, &web);
    script(sources.path(), &format!("git clone -q --mirror {}/root/repo.git repo.git", web.scratch.path().display()));
    fs::copy(sources.join("c.tar.gz"), web.scratch.join("root/c.tgz")).expect("scratch is writable");
    let plain = fs::read(sources.join("c.tar")).expect("it is made");
    fs::write(sources.join("c.tar.zst"), zstd::encode_all(&plain[..], 1).expect("memory"))
        .expect("scratch is writable");
    let (daemon, _daemon) = daemon(&web.scratch.join("root"));
    let sshd = Sshd::start().map_err(|reason| skips::skip("context: the same over SSH", &reason)).ok();
    let buckets = buckets(&sources);
    if buckets.is_none() {
        skips::skip("context: the same from buckets", "an object store is not installed: see tests/run.sh");
    }
    let mut forms = forms_of_git(&web, &daemon, sshd.as_ref());
    forms.extend(buckets.iter().flat_map(|[s3, gcs, azure]| forms_of_buckets(s3, gcs, azure)));
    forms.push(("directory", "dir://$SOURCES/context".to_owned(), nothing()));
    forms.push(("https", format!("https://{}/files/c.tgz", web.address), nothing()));
    for name in ["c.tar", "c.tar.gz", "c.tar.bz2", "c.tar.xz", "c.tar.zst"] {
        forms.push((name, format!("tar://$SOURCES/{name}"), nothing()));
    }
    let (image, ca) = (expected(&sources), web.ca());
    thread::scope(|scope| {
        for isolation in Isolation::ALL.into_iter().filter(|isolation| isolation.allowed("context: every form")) {
            let (forms, sources, image, ca) = (&forms, &sources, &image, &ca);
            scope.spawn(move || {
                for (name, context, prepare) in forms {
                    let mut executor = Executor::new(isolation, sources.path());
                    prepare(&mut executor);
                    let context = context.replace("$SOURCES", &executor.sources());
                    let build = run(executor, &context, ca, false);
                    assert_eq!(build.image().digest, *image, "{name} in {}", isolation.name());
                }
                let executor = Executor::new(isolation, sources.path());
                assert_eq!(run(executor, "-", ca, true).image().digest, *image, "stdin in {}", isolation.name());
            });
        }
    });
}

fn nothing<'a>() -> Prepare<'a> {
    Box::new(|_| {})
}

fn forms_of_git<'a>(web: &Web, daemon: &str, sshd: Option<&'a Sshd>) -> Vec<Form<'a>> {
    let own: Prepare<'_> = Box::new(|executor| {
        // kaniko's form has .git by itself, the others do not.
        executor.env("GIT_PULL_METHOD", "git").add(&["--build-arg=BUILDKIT_CONTEXT_KEEP_GIT_DIR=0"]);
    });
    let mut forms = vec![
        ("git over https", format!("https://{}/git/repo.git#main", web.address), nothing()),
        ("git from a directory", "file://$SOURCES/repo.git".to_owned(), nothing()),
        ("git's own protocol", format!("git://{daemon}/repo.git#main"), own),
    ];
    if let Some(sshd) = sshd {
        let context = format!("ssh://root@127.0.0.1:{}{}/root/repo.git", sshd.port, web.scratch.path().display());
        let prepare: Prepare<'_> = Box::new(|executor| {
            executor.credential(".ssh/known_hosts", sshd.known());
            executor.credential(".ssh/id_ed25519", sshd.key());
            executor.at_home();
        });
        forms.push(("git over ssh", context, prepare));
    }
    forms
}

/// Starts the object stores, all or none, and puts the archive into them.
fn buckets(sources: &Scratch) -> Option<[ObjectStore; 3]> {
    let (s3, gcs, azure) = (ObjectStore::s3_strict()?, ObjectStore::gcs()?, ObjectStore::azure()?);
    let archive = sources.join("c.tar.gz");
    let bucket = s3.buckets().join("bucket");
    fs::create_dir_all(&bucket).expect("scratch is writable");
    fs::copy(&archive, bucket.join("c.tgz")).expect("scratch is writable");
    gcs_objects(&gcs, &archive, &sources.join("context"));
    azure_blob(&azure, &archive);
    Some([s3, gcs, azure])
}

fn forms_of_buckets<'a>(s3: &'a ObjectStore, gcs: &'a ObjectStore, azure: &'a ObjectStore) -> [Form<'a>; 3] {
    let context = format!("https://{AZURE_ACCOUNT}.blob.core.windows.net/box/c.tgz");
    let of_gcs: Prepare<'_> = Box::new(|executor| {
        executor.env("STORAGE_EMULATOR_HOST", &gcs.url);
    });
    let of_azure: Prepare<'_> = Box::new(|executor| {
        executor.env("AZURE_STORAGE_SERVICE_ENDPOINT", &azure.url).env("AZURE_STORAGE_ACCESS_KEY", AZURE_KEY);
    });
    [
        ("s3", "s3://bucket/c.tgz".to_owned(), Box::new(|executor| of_s3(executor, s3))),
        ("gcs", "gs://bucket/dir/c.tgz".to_owned(), of_gcs),
        ("azure", context, of_azure),
    ]
}

fn run(mut executor: Executor, context: &str, ca: &[u8], has_stdin: bool) -> Build {
    let ca = executor.credential("ca.crt", ca);
    executor.env("SSL_CERT_FILE", &ca).only_layout();
    executor.add(&[&format!("--context={context}"), "--dockerfile=Dockerfile", "--reproducible"]);
    if has_stdin {
        let archive = format!("{}/c.tar.gz", executor.sources());
        return executor.run_with_stdin(&archive).expect(0);
    }
    executor.run().expect(0)
}

fn of_s3(executor: &mut Executor, store: &ObjectStore) {
    executor.env("S3_ENDPOINT", &store.url).env("S3_FORCE_PATH_STYLE", "true");
    executor.env("AWS_ACCESS_KEY_ID", "AK").env("AWS_SECRET_ACCESS_KEY", "SK").env("AWS_REGION", "us-east-1");
}

#[test]
fn a_directory_is_left_as_it_is() {
    if !Isolation::Namespace.allowed("context: left as it is") {
        return;
    }
    let sources = sources();
    // Somebody else's, and older than any access to it.
    script(sources.path(), "chown -R -h 12345:54321 context; find context -exec touch -h -d @1000000000 {} +");
    // To look at directories and links is to access them; files are only looked at by the build.
    let state = || {
        let all = "find context -printf '%p %m %u %g %s %l %T@ %C@\\n' | sort";
        script(sources.path(), &format!("{all}; find context -type f -printf '%p %A@\\n' | sort"))
    };
    let before = state();
    let image = expected(&sources);
    assert_eq!(state(), before);
    assert_eq!(expected(&sources), image);
}

/// The largest resident memory that a context of any size may take.
const MEMORY: u64 = 128 << 20;

#[test]
fn a_large_context_takes_little_memory() {
    if !Isolation::Namespace.allowed("context: 500 MB") {
        return;
    }
    let (web, sources) = (Web::start(), Scratch::new("large"));
    sources.file("Dockerfile", "FROM scratch\nCOPY small /\n");
    let archive = web.scratch.join("root/large.tar");
    large(&archive).expect("scratch is writable");
    let build = |context: &str, store: Option<&ObjectStore>| {
        let mut executor = Executor::new(Isolation::Namespace, sources.path());
        if let Some(store) = store {
            of_s3(&mut executor, store);
        }
        executor.measured();
        let ca = executor.credential("ca.crt", web.ca());
        executor.env("SSL_CERT_FILE", &ca).only_layout().add(&[&format!("--context={context}")]);
        let peak = executor.run().expect(0).peak_memory();
        eprintln!("context: 500 MB from {context}: {} MiB of memory", peak >> 20);
        assert!(peak < MEMORY, "{context}: {peak}");
    };
    build(&format!("https://{}/files/large.tar", web.address), None);
    let Some(store) = ObjectStore::s3_strict() else {
        return skips::skip("context: 500 MB from S3", "s3s-fs is not installed: see tests/run.sh");
    };
    fs::create_dir_all(store.buckets().join("bucket")).expect("scratch is writable");
    fs::rename(&archive, store.buckets().join("bucket/large.tar")).expect("both are scratch");
    build("s3://bucket/large.tar", Some(&store));
}

/// Writes an archive of a small file and one of 500 MB, of which the disk holds nothing.
fn large(path: &std::path::Path) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let mut size = 0;
    for (name, length) in [("small", 0), ("large", 500_u64 << 20)] {
        let mut header = tar::Header::new_ustar();
        header.set_path(name)?;
        header.set_mode(0o644);
        header.set_size(length);
        header.set_cksum();
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(size))?;
        file.write_all(header.as_bytes())?;
        size += 512 + length;
    }
    file.set_len(size + 1024)
}
