use std::ffi::OsString;

use super::*;
use crate::cli::args::{Invocation, parse};
use crate::cli::env::Moment;
use crate::registry::Registry;
use crate::request::{
    ArchiveForm, Compression, ContextSource, DockerfileSource, ImageFormat, IsolationChoice, Output, Provenance,
    SnapshotMode, Snapshots, Target,
};
use crate::signing::Tokens;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const NOW: i64 = 1_800_000_000;

/// Resolves a command line with these variables, from the working directory `/work`.
fn outcome(words: &[&str], variables: &[(&str, &str)]) -> Result<Resolved, Failure> {
    let words = ["yadokari"].iter().chain(words).map(OsString::from);
    let args = match parse(words)? {
        Invocation::Build(args) => args,
        other => panic!("{other:?} is no build"),
    };
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let moment = Moment { now: NOW, token: "token".to_owned() };
    let environment = Environment::new(variables, "/work".into(), moment, false);
    resolve(&args, &environment).map_err(Failure::from)
}

pub(super) fn resolved(words: &[&str], variables: &[(&str, &str)]) -> Resolved {
    match outcome(words, variables) {
        Ok(resolved) => resolved,
        Err(failure) => panic!("{words:?}: {failure:?}"),
    }
}

pub(super) fn refused(words: &[&str], variables: &[(&str, &str)]) -> String {
    match outcome(words, variables) {
        Ok(_) => panic!("{words:?} was taken"),
        Err(failure) => {
            assert_eq!((failure.kind, failure.exit_code), (Kind::Usage, 72), "{words:?}");
            failure.message
        }
    }
}

fn shown(value: impl std::fmt::Debug) -> String {
    format!("{value:?}").replace('"', "")
}

#[test]
fn defaults() {
    let Resolved {
        request,
        network,
        signing: _,
        names_container,
        messages,
        warnings,
        progress_file,
        timeout,
        working: _,
        regions,
        telemetry,
        places: _,
    } = resolved(&["--no-push"], &[("KANIKO_DIR", "/k")]);
    assert!(telemetry.is_none(), "nothing is sent where nobody asks for it");
    assert_eq!(request.context, ContextSource::Directory("/workspace/".into()));
    assert_eq!(regions, ["/work", "/workspace/"].map(PathBuf::from), "where a checkout may be");
    assert_eq!(
        request.dockerfile,
        DockerfileSource::Path { given: "Dockerfile".into(), absolute: "/work/Dockerfile".into() }
    );
    assert_eq!((request.context_sub_path, request.target), (None, None));
    assert_eq!(request.platform, crate::oci::Platform::host());
    assert_eq!((request.created, request.epoch), (NOW, None));
    assert_eq!((request.snapshots, request.snapshot_mode), (Snapshots::EachStep, SnapshotMode::Full));
    assert_eq!(request.compression, Compression::Gzip { level: 5 });
    assert_eq!(request.isolation, IsolationChoice::Auto);
    assert!(!request.force);
    assert_eq!(request.state_directory, Path::new("/k/yadokari-token"));
    assert_eq!((request.outputs, request.results), (vec![], crate::request::ResultFiles::default()));
    assert!(request.build_args.is_empty() && request.labels.is_empty() && request.ignore_paths.is_empty());
    assert_eq!((network.registry.pull, network.registry.push), (Registry::default(), Registry::default()));
    assert!(network.registry.registries.is_empty() && network.http.hosts.is_empty());
    assert_eq!((network.http.retry.attempts, network.check_push_permission), (6, true));
    assert_eq!(
        shown(messages),
        "Settings { verbosity: Info, form: Text, timestamps: false, live: false, plan: false, trace: None, dialect: Plain, workspace: None }"
    );
    assert!(!names_container && warnings.is_empty() && progress_file.is_none() && timeout.is_none());
}

/// Shows one of the settings for pushes, for pulls, and by registry.
fn reach(resolved: &Resolved, setting: fn(&Registry) -> bool) -> String {
    let crate::registry::Options { push, pull, registries, .. } = &resolved.network.registry;
    let registries: std::collections::BTreeMap<_, _> =
        registries.iter().map(|(name, registry)| (name, setting(registry))).collect();
    shown(format_args!("push {}, pull {}, {registries:?}", setting(push), setting(pull)))
}

fn insecure(resolved: &Resolved) -> String {
    reach(resolved, |registry| registry.insecure)
}

fn unverified(resolved: &Resolved) -> String {
    reach(resolved, |registry| registry.skip_verify)
}

fn mirrored(resolved: &Resolved) -> String {
    let mirrors = resolved.network.registry.mirrors.of.iter();
    let texts = mirrors.map(|(name, places)| {
        let places: Vec<String> = places.iter().map(ToString::to_string).collect();
        format!("{name}: [{}]", places.join(", "))
    });
    format!("{{{}}}", texts.collect::<Vec<_>>().join(", "))
}

/// Shows the files of one value.
fn values(resolved: &Resolved) -> String {
    let files = resolved.request.results.values.iter();
    files.map(|file| format!("{:?} {}", file.value, file.path.display())).collect::<Vec<_>>().join(", ")
}

/// Shows who signs, without what is secret.
fn signs(resolved: &Resolved) -> String {
    let Some(settings) = &resolved.signing else { return "nobody".to_owned() };
    let who = match &settings.who {
        Who::File(path, None) => format!("{}", path.display()),
        Who::File(path, Some(crate::request::SecretSource::File(password))) => {
            format!("{} with {}", path.display(), password.display())
        }
        Who::File(path, Some(_)) => format!("{} with a password", path.display()),
        Who::Kms(key) => key.to_string(),
        Who::Keyless { authority, tokens: Tokens::File(path) } => format!("{authority} for {}", path.display()),
        Who::Keyless { authority, .. } => format!("{authority} for a token"),
    };
    format!("{who}, {:?}, {}", settings.forms, settings.log.as_ref().map(ToString::to_string).unwrap_or_default())
}

fn notes(resolved: &Resolved) -> String {
    let notes = resolved.warnings.iter().filter_map(|warning| warning.message.split(':').next());
    notes.collect::<Vec<_>>().join(", ")
}

type Probe = fn(&Resolved) -> String;
/// The words, what to look at, and what is to be seen there.
type Row = (&'static str, Probe, &'static str);

fn git(resolved: &Resolved) -> String {
    let ContextSource::Git(source) = &resolved.request.context else { return shown(&resolved.request.context) };
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let directory = source.sub_directory.as_ref().map(|path| path.display().to_string());
    let depth = source.depth.map_or("all".to_owned(), |depth| depth.to_string());
    let (reference, commit) = (text(&source.reference), text(&source.commit));
    format!("{} {reference} {commit} {} {depth} {}", source.url.0, text(&directory), source.submodules)
}

const IMAGE_AND_BUILD: &[Row] = &[
    ("--context=src", |r| shown(&r.request.context), "Directory(/work/src)"),
    ("-c ./src/.", |r| shown(&r.request.context), "Directory(/work/src)"),
    ("--context dir:///abs", |r| shown(&r.request.context), "Directory(/abs)"),
    ("--context tar:///a.tgz", |r| shown(&r.request.context), "Tar(/a.tgz)"),
    ("--context tar://stdin", |r| shown(&r.request.context), "Stdin"),
    ("-c -", |r| shown(&r.request.context), "Stdin"),
    ("-c gs://b", |r| shown(&r.request.context), "Gcs(ObjectSource { bucket: b, key: context.tar.gz, version: None })"),
    ("-c gs://b/k#7", |r| shown(&r.request.context), "Gcs(ObjectSource { bucket: b, key: k, version: Some(7) })"),
    ("--bucket=b/d/", |r| shown(&r.request.context), "Gcs(ObjectSource { bucket: b, key: d/, version: None })"),
    (
        "-c s3://b/k?versionId=v",
        |r| shown(&r.request.context),
        "S3(ObjectSource { bucket: b, key: k, version: Some(v) })",
    ),
    ("-c https://a.blob.core.windows.net/c/x?sig=y", |r| shown(&r.request.context), "Azblob(https://…)"),
    ("-c https://u:p@h/x.tgz", |r| shown(&r.request.context), "Https(HttpsSource { url: https://…, checksum: None })"),
    ("--context-base=/b -c ./s", |r| shown(&r.request.context), "Directory(/b/s)"),
    ("--context-base=/b -c /s", |r| shown(&r.request.context), "Directory(/b/s)"),
    ("--context-base=/b -c tar:///s", |r| shown(&r.request.context), "Tar(/s)"),
    ("--context-base=/b -c git+https://h/p#v1", git, "https://h/p v1 - - 1 true"),
    ("--context-max-size=2k", |r| shown(r.request.context_max_size), "2048"),
    ("-c git://h/p#main#ABCD", git, "https://h/p main abcd - 1 false"),
    ("-c git://h:9418/p", git, "git://h:9418/p - - - 1 false"),
    ("-c https://h/p.git#v1:a/b", git, "https://h/p.git v1 - a/b 1 true"),
    ("-c https://h/p.git?tag=v1&subdir=a&submodules=0", git, "https://h/p.git refs/tags/v1 - a 1 false"),
    ("-c git@h:p --git=branch=b,depth=0", git, "git@h:p b - - all true"),
    ("-c ssh://git@h/p --git depth=3 --git recurse-submodules=false", git, "ssh://git@h/p - - - 3 false"),
    ("--build-context a=dir", |r| shown(&r.request.named_contexts), "{a: Files(Directory(/work/dir))}"),
    (
        "--build-context=a=oci-layout://l",
        |r| shown(&r.request.named_contexts),
        "{a: Layout { path: /work/l, digest: None }}",
    ),
    ("--dockerfile=-", |r| shown(&r.request.dockerfile), "Stdin"),
    ("--dockerfile=https://h/D", |r| shown(&r.request.dockerfile), "Url(https://…)"),
    ("--context-sub-path=/a/./b", |r| shown(&r.request.context_sub_path), "Some(a/b)"),
    ("--context-sub-path=", |r| shown(&r.request.context_sub_path), "None"),
    ("--dockerfile=a/D", |r| shown(&r.request.dockerfile), "Path { given: a/D, absolute: /work/a/D }"),
    ("-f /D", |r| shown(&r.request.dockerfile), "Path { given: /D, absolute: /D }"),
    ("--dockerfile=", |r| shown(&r.request.dockerfile), "Path { given: Dockerfile, absolute: /work/Dockerfile }"),
    ("--build-arg A=b=c,d --build-arg A=e --build-arg E=", |r| shown(&r.request.build_args), "{A: e, E: }"),
    ("--build-arg A=b=c,d", |r| shown(&r.request.build_args), "{A: b=c,d}"),
    ("--build-arg= --build-arg A=b", |r| shown(&r.request.build_args), "{A: b}"),
    ("--target one", |r| shown(&r.request.target), "Some(one)"),
    ("--target=a,b --target=c,a", |r| shown((&r.request.target, &r.request.also_targets)), "(Some(a), [b, c])"),
    ("--target=", |r| shown(&r.request.target), "None"),
    ("--custom-platform=linux/arm64/v8", |r| r.request.platform.to_string(), "linux/arm64"),
    ("--custom-platform=linux/arm64,amd64,linux/arm64/v8", |r| shown(r.request.platforms.len()), "2"),
    ("--customPlatform=arm64", |r| r.request.platform.to_string(), "linux/arm64"),
    ("--label a=b=c --label d=", |r| shown(&r.request.labels), "{a: b=c, d: }"),
    ("--reproducible", |r| shown((r.request.created, r.request.epoch)), "(0, Some(0))"),
    ("--compression=zstd", |r| shown(r.request.compression), "Zstd { level: 3 }"),
    ("--compression=uncompressed", |r| shown(r.request.compression), "Uncompressed"),
    ("--image-format=docker", |r| shown(r.request.form.format), "Docker"),
    ("--image-format=OCI", |r| shown(r.request.form.format), "Oci"),
    ("--force-compression", |r| shown(r.request.form.recompress), "true"),
    ("--annotation a=b=c --annotation manifest:d=", |r| shown(&r.request.form.annotations), "{a: b=c, d: }"),
    (
        "--annotation=manifest-descriptor:a=b --output=type=oci",
        |r| shown(&r.request.form.descriptor_annotations),
        "{a: b}",
    ),
    ("--mark-origin=both", |r| shown(r.request.form.origin), "OriginMarks { annotations: true, labels: true }"),
    ("--mark-origin=labels", |r| shown(r.request.form.origin), "OriginMarks { annotations: false, labels: true }"),
    ("--output=type=oci,compression=zstd", |r| shown(r.request.compression), "Zstd { level: 3 }"),
    ("--output type=oci,compression-level=9", |r| shown(r.request.compression), "Gzip { level: 9 }"),
    ("-o type=docker,oci-mediatypes=false", |r| shown(r.request.form.format), "Docker"),
    ("-o type=oci,force-compression=true", |r| shown(r.request.form.recompress), "true"),
    ("-o type=oci,annotation.a=b", |r| shown(&r.request.form.annotations), "{a: b}"),
    ("--compression=none", |r| shown(r.request.compression), "Uncompressed"),
    ("--compression-level -1", |r| shown(r.request.compression), "Gzip { level: 5 }"),
    ("--compression-level=0", |r| shown(r.request.compression), "Gzip { level: 5 }"),
    ("--compression-level=9", |r| shown(r.request.compression), "Gzip { level: 9 }"),
    ("--compression=zstd --compression-level=22", |r| shown(r.request.compression), "Zstd { level: 22 }"),
    ("--isolation=Chroot", |r| shown(r.request.isolation), "Chroot"),
    ("--cleanup", |r| shown(r.request.force), "false"),
    ("--ignore-var-run", |r| shown(&r.request.ignore_paths), "[/var/run]"),
    ("--whitelist-var-run", |r| shown(&r.request.ignore_paths), "[/var/run]"),
    ("--ignore-var-run=false", |r| shown(&r.request.ignore_paths), "[]"),
    ("--materialize", |r| shown(r.request.materialize), "true"),
    ("--print-plan", |r| shown(r.messages.plan), "true"),
    ("--cache --cache-dir=/c --single-snapshot", notes, "--cache does nothing with --single-snapshot"),
    ("--cache-inline --cache-run-layers=false --cache-copy-layers=false", notes, "--cache-inline finds no step"),
    ("--compressed-caching", notes, "--compressed-caching does nothing"),
    ("--force-build-metadata", notes, "--force-build-metadata does nothing"),
    ("--image-fs-extract-retry=2", notes, "--image-fs-extract-retry does nothing"),
    ("--pre-cleanup", notes, "--pre-cleanup does nothing"),
    ("--preserve-context", notes, "--preserve-context does nothing"),
    ("--skip-unused-stages", notes, "--skip-unused-stages does nothing"),
    ("--use-new-run", notes, "--use-new-run does nothing"),
    ("--verify-base=p.json", |r| shown(&r.request.base_policy), "Some(/work/p.json)"),
    ("--sign-key=k", signs, "/work/k, Both, "),
    ("--sign-key=k --sign-key-password-file=p --signature-format=tag", signs, "/work/k with /work/p, Tag, "),
    ("--sign-key=awskms:///alias/k", signs, "awskms:///alias/k, Both, "),
    ("--sign-key=k --rekor-url=https://log.example.com", signs, "/work/k, Both, https://log.example.com/"),
    (
        "--sign-keyless --identity-token-file=t --signature-format=bundle",
        signs,
        "https://fulcio.sigstore.dev/ for /work/t, Bundle, https://rekor.sigstore.dev/",
    ),
    (
        "--sign-keyless --fulcio-url=https://ca.example.com",
        signs,
        "https://ca.example.com/ for /var/run/sigstore/cosign/oidc-token, Both, https://rekor.sigstore.dev/",
    ),
    ("--cache-dir=c", |r| shown(&r.request.base_images), "/work/c"),
    ("--timeout=1h30m", |r| shown(r.timeout), "Some(5400s)"),
    ("--offline", |r| shown(r.request.offline && r.network.http.offline), "true"),
    ("--force", |r| shown(r.request.force), "true"),
    ("--force --force=false", |r| shown(r.request.force), "false"),
    ("--ignore-path=/a --ignore-path b/./c", |r| shown(&r.request.ignore_paths), "[/a, /b/c]"),
    ("--snapshot-mode=redo", |r| shown(r.request.snapshot_mode), "Redo"),
    ("--snapshotMode=time", |r| shown(r.request.snapshot_mode), "Time"),
    ("--single-snapshot", |r| shown(r.request.snapshots), "Single"),
    ("--jobs=3", |r| shown(r.request.jobs), "3"),
    ("--state-dir=s", |r| shown(&r.request.state_directory), "/work/s/yadokari-token"),
    ("--kaniko-dir=/s", |r| shown(&r.request.state_directory), "/s/yadokari-token"),
];

const CACHE: &[Row] = &[
    ("--cache --cache-repo=oci:c", |r| shown(&r.request.cache.directory), "Some(/work/c)"),
    ("--cache --cache-dir=c", |r| shown(&r.request.cache.directory), "Some(/work/c/layers)"),
    ("--cache-ttl=90m", |r| shown(r.request.cache.ttl), "5400"),
    ("--cache-copy-layers=false", |r| shown(r.request.cache.steps.copies), "false"),
    ("--cache-copy-layers", |r| shown(r.request.cache.steps.copies), "true"),
    ("--cache-run-layers=false", |r| shown(r.request.cache.steps.runs), "false"),
    ("--cache-mode=RO", |r| shown(r.request.cache.writes), "false"),
    ("--no-push-cache", |r| shown(r.request.cache.writes), "false"),
    ("--cache-namespace=pr/12", |r| shown(&r.request.cache.namespace), "[pr, 12]"),
    ("--cache-namespace=", |r| shown(&r.request.cache.namespace), "[]"),
    ("--cache-from=r.io/a --cache-from=", |r| shown(r.request.cache.images.len()), "1"),
    ("--cache-key-file=k", |r| shown(r.request.cache.key.as_ref()), "Some(File(/work/k))"),
    ("--cache-inline", |r| shown(r.request.cache.inline), "true"),
    ("--print-build-key", |r| shown(r.request.cache.print_key), "true"),
    ("--skip-existing", |r| shown(r.request.cache.skip_existing), "true"),
];

const OUTPUT_REGISTRY_AND_MESSAGES: &[Row] = &[
    ("--oci-layout-path=l", |r| shown(&r.request.outputs), "[Layout { path: /work/l, names: [] }]"),
    ("--oci-layout-path=", |r| shown(&r.request.outputs), "[]"),
    ("--digest-file=d", values, "Digest /work/d"),
    ("--image-digest-file=d", values, "Digest /work/d"),
    ("--digest-file=", values, ""),
    ("--base-images-digests-file=b", values, "BaseImages /work/b"),
    ("--image-id-file=i", values, "ImageId /work/i"),
    ("--iidfile=i", values, "ImageId /work/i"),
    ("--print-image-id --iidfile=i", values, "ImageId /work/i, ImageId /dev/stdout"),
    ("--image-size-file=s --error-kind-file=k", values, "Size /work/s, ErrorKind /work/k"),
    ("-d r.io/a --attestations-file=a", values, "Attestations /work/a"),
    (
        "--sbom=spdx --sbom-path=s --sbom-attach=false",
        |r| shown((r.request.sbom, r.request.attestations.sbom, &r.request.results.sboms)),
        "(Some(Spdx), None, [/work/s])",
    ),
    (
        "-d r.io/a --provenance=max --attestation-format=index --builder-id=https://b/ --invocation-id=i",
        |r| {
            let said = &r.request.attestations;
            shown((said.format, said.provenance, &said.builder_id, &said.invocation_id, said.names.len()))
        },
        "(Index, Max, https://b/, Some(i), 0)",
    ),
    (
        "--provenance=mode=min --attestations-dir=a --custom-platform=linux/arm64,linux/amd64",
        |r| shown(&r.request.results.attestations),
        "Some(AttestationFiles { directory: /work/a, parts: [linux_arm64, linux_amd64] })",
    ),
    ("--error-reason-file=r --error-message-file=m", values, "ErrorReason /work/r, ErrorMessage /work/m"),
    ("-d r.io/a -d b:2 --result-image=docker.io/library/b:2", named, "b:2"),
    ("-d r.io/a -d b:2", named, "r.io/a"),
    ("-d r.io/a:1 --push-by-digest", named, "r.io/a"),
    ("--git-url-file=u --git-commit-file=c", values, "GitUrl /work/u, GitCommit /work/c"),
    ("-d r.io/a --image-url-file=u --image-ref-file=r", values, "Url /work/u, Reference /work/r"),
    ("-d r.io/a --images-file=i", values, "Images /work/i"),
    ("--tekton-results-dir=t", |r| shown(&r.request.results.tekton), "Some(/work/t)"),
    ("--tekton-results-limit=0", |r| shown(r.request.results.tekton_limit.bytes), "Some(0)"),
    ("--tekton-artifacts=a", |r| shown(&r.request.results.tekton_artifacts), "Some(/work/a)"),
    ("--github-output=false", |r| shown(&r.request.results.github), "None"),
    ("--dotenv-file=e", |r| shown(&r.request.results.dotenv), "Some(/work/e)"),
    ("--pipeline=gitlab", |r| shown(&r.request.results.dotenv), "Some(/work/build.env)"),
    ("--pipeline=Tekton", |r| shown(&r.request.results.tekton), "Some(/tekton/results)"),
    (
        "--argo-outputs-dir=a",
        |r| shown(r.request.results.argo.first()),
        "Some(ValueFile { value: Url, path: /work/a/image-url })",
    ),
    (
        "--digest-file=https://h/x?secret",
        |r| shown(&r.request.results.puts),
        "[ValuePut { value: Digest, url: https://… }]",
    ),
    ("--metadata-file=/m", |r| shown(&r.request.results.metadata), "Some(MetadataFile { path: /m, trace: None })"),
    ("--trace-file=t", |r| shown(&r.request.results.trace), "Some(/work/t)"),
    ("--report=p.html", |r| shown(&r.request.results.report), "Some(/work/p.html)"),
    ("-d r.io/a --image-name-with-digest-file=n", values, "KanikoNames /work/n"),
    ("-d r.io/a --image-name-tag-with-digest-file=n", values, "KanikoTags /work/n"),
    ("--insecure", insecure, "push true, pull false, {}"),
    ("--insecure-pull", insecure, "push false, pull true, {}"),
    (
        "--insecure-registry=r:5000 --insecure-registry index.docker.io",
        insecure,
        "push false, pull false, {docker.io: true, r:5000: true}",
    ),
    ("--skip-tls-verify", unverified, "push true, pull true, {}"),
    ("--skip-tls-verify-pull", unverified, "push false, pull true, {}"),
    ("--skip-tls-verify-registry=r", unverified, "push false, pull false, {r: true}"),
    (
        "--skip-tls-verify-registry=r",
        |r| shown(&r.network.http.hosts),
        "{r: Tls { skip_verify: true, certificates: [], identity: None }}",
    ),
    (
        "--registry-certificate=r=a=b.pem --registry-certificate=https://r/=/c.pem",
        |r| shown(&r.network.http.hosts),
        "{r: Tls { skip_verify: false, certificates: [/work/a=b.pem, /c.pem], identity: None }}",
    ),
    (
        "--registry-client-cert=r:5000=c.pem,/k=1.pem",
        |r| shown(&r.network.http.hosts["r:5000"].identity),
        "Some((/work/c.pem, /k=1.pem))",
    ),
    (
        "--registry-map=index.docker.io=m.example/hub;q.example=m.example:5000 --registry-map=q.example=n.example",
        mirrored,
        "{docker.io: [m.example/hub], q.example: [m.example:5000, n.example]}",
    ),
    (
        "--registry-mirror=m.example --registry-mirror https://n.example/x/",
        mirrored,
        "{docker.io: [m.example, n.example/x]}",
    ),
    ("--registries-conf=", |r| shown(&r.network.registry.mirrors.rules), "[]"),
    ("--registry-auth-file=f.json", |r| shown(&r.network.credentials.documents[0].name), "/work/f.json"),
    ("--credential-helpers=acr,env", |r| shown(&r.network.credentials.keychains), "[Acr, Environment]"),
    ("--skip-default-registry-fallback", |r| shown(r.network.registry.mirrors.only), "true"),
    ("--push-ignore-immutable-tag-errors", |r| shown(r.network.registry.ignore_immutable_tags), "true"),
    ("--image-download-retry=2 --push-retry=1", |r| shown(r.network.http.retry.attempts), "8"),
    ("--push-retry=3", |r| shown(r.network.http.retry.total), "180s"),
    ("--allow-link-local", |r| shown(r.network.http.allow_link_local), "true"),
    ("--push-retry=3", |r| shown(r.network.http.retry.attempts), "9"),
    ("--skip-push-permission-check", |r| shown(r.network.check_push_permission), "false"),
    ("--verbosity=debug", |r| shown(r.messages.verbosity), "Debug"),
    ("-v WARNING", |r| shown(r.messages.verbosity), "Warn"),
    ("-vpanic", |r| shown(r.messages.verbosity), "Error"),
    ("--log-format=json", |r| shown(r.messages.form), "Json"),
    ("--log-format=color", |r| shown(r.messages.form), "Colour"),
    (
        "--on-failure=keep --state-dir=s",
        |r| shown(&r.request.on_failure),
        "Some(Archive { form: Docker, target: File(/work/s/yadokari-token-failed.tar), names: [Reference { registry: \
         localhost, repository: failed-step, tag: Some(latest), digest: None }] })",
    ),
    ("--progress=rawjson", |r| shown(r.messages.form), "Json"),
    ("--progress=quiet", |r| shown(r.messages.verbosity), "Error"),
    ("--progress=tty", |r| shown(r.messages.live), "true"),
    ("--log-timestamp", |r| shown(r.messages.timestamps), "true"),
    ("--no-push=false --no-push", |r| shown(&r.request.outputs), "[]"),
];

const RUN: &[Row] = &[
    ("--build-arg-file= --build-arg A=b", |r| shown(&r.request.build_args), "{A: b}"),
    ("--secret id=a,src=b --secret=", |r| shown(&r.request.run.secrets), "{a: File(/work/b)}"),
    ("--ssh a=b --ssh c=/d,e", |r| shown(&r.request.run.agents), "{a: [/work/b], c: [/d, /work/e]}"),
    ("--network=none", |r| shown(r.request.run.network), "None"),
    ("--network Host", |r| shown(r.request.run.network), "Host"),
    ("--add-host a:1.2.3.4", |r| shown(&r.request.run.hosts), "[Host { name: a, address: 1.2.3.4 }]"),
    ("--shm-size=1G", |r| shown(r.request.run.shared_memory), "Some(1073741824)"),
    (
        "--ulimit core=0:-1",
        |r| shown(&r.request.run.limits),
        "[ResourceLimit { resource: Core, soft: Some(0), hard: None }]",
    ),
    ("--allow=network.host", |r| shown(r.request.run.network), "Host"),
    (
        "--cache-mounts=c --cache-mounts-max-size=2k --cache-mounts-max-age=1h",
        |r| shown(&r.request.run.caches),
        "CacheMounts { directory: Some(/work/c), repository: None, max_size: Some(2048), max_age: Some(3600) }",
    ),
    (
        "--cache-mounts-repo=r.io/a --cache-mounts-max-size=1",
        |r| shown(r.request.run.caches.repository.as_ref().map(crate::oci::Reference::name)),
        "Some(r.io/a)",
    ),
    ("--cache-mounts=", |r| shown(&r.request.run.caches.directory), "None"),
];

#[test]
fn arguments_come_from_files_too_and_flags_go_before_them() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "# of the project\nA=file\n\n  B=b=c  \nHOME\n").expect("writes");
    let flag = format!("--build-arg-file={}", file.path().display());
    let found = resolved(&[&flag, "--build-arg=A=flag", "--no-push"], &[("HOME", "/h")]);
    assert_eq!(shown(found.request.build_args), "{A: flag, B: b=c, HOME: /h}");
    assert!(refused(&["--build-arg-file=/nonexistent", "--no-push"], &[]).contains("/nonexistent"));
    assert!(refused(&["--cache-mounts-max-age=1h", "--no-push"], &[]).contains("need --cache-mounts"));
    let both = refused(&["--cache-mounts=c", "--cache-mounts-repo=r.io/a", "--no-push"], &[]);
    assert!(both.contains("kept in one place"), "{both}");
}

#[test]
fn every_flag_arrives() {
    let rows = [IMAGE_AND_BUILD, CACHE, OUTPUT_REGISTRY_AND_MESSAGES, RUN].concat();
    for (words, probe, expected) in &rows {
        let words: Vec<&str> = words.split(' ').chain(["--no-push"]).collect();
        assert_eq!(probe(&resolved(&words, &[])), *expected, "{words:?}");
    }
    for flag in crate::cli::args::long_names() {
        let flag = format!("--{flag}");
        let elsewhere = ["--destination", "--tar-path", "--tarPath", "--dryrun", "--help", "--version", "--secret-dir"];
        let is_there = rows.iter().any(|(words, ..)| words.split([' ', '=']).any(|word| word == flag));
        assert!(is_there || elsewhere.contains(&flag.as_str()), "{flag} has no row");
    }
}

fn named(resolved: &Resolved) -> String {
    resolved.request.results.named.as_ref().map(|named| named.text.clone()).unwrap_or_default()
}

#[test]
fn the_destination_that_results_name_is_one_of_them() {
    let message = refused(&["-d", "r.io/a:1", "--result-image=r.io/a:2"], &[]);
    assert!(message.contains("no --destination has this name"), "{message}");
}

#[test]
fn each_file_of_a_directory_is_a_secret() {
    let directory = tempfile::tempdir().expect("tempdir");
    let file = |name: &str| directory.path().join(name);
    std::fs::create_dir(file("..2026")).expect("makes");
    std::fs::write(file("..2026/token"), "secret").expect("writes");
    std::os::unix::fs::symlink("..2026", file("..data")).expect("links");
    std::os::unix::fs::symlink("..data/token", file("token")).expect("links");
    std::fs::write(file("other"), "secret").expect("writes");
    let flag = format!("--secret-dir={}", directory.path().display());
    let secrets = resolved(&["--no-push", &flag, "--secret=id=other,src=/o"], &[]).request.run.secrets;
    assert_eq!(secrets.keys().collect::<Vec<_>>(), ["other", "token"]);
    assert_eq!(secrets["other"], crate::request::SecretSource::File("/o".into()), "who names one means that one");
    assert!(refused(&["--no-push", "--secret-dir=/no/such"], &[]).contains("/no/such"));
}

fn docker_archive(names: Vec<crate::oci::Reference>) -> Output {
    Output::Archive { form: ArchiveForm::Docker, target: Target::File("/work/t".into()), names }
}

#[test]
fn a_plan_and_an_image_do_not_share_standard_output() {
    let variables = [("KANIKO_PRINT_PLAN", "1")];
    assert!(refused(&["--no-push", "--output=type=tar"], &variables).contains("KANIKO_PRINT_PLAN"));
    resolved(&["--no-push", "--output=type=tar", "--print-plan"], &[("KANIKO_PRINT_PLAN", "0")]);
    resolved(&["--no-push", "--print-plan", "--tar-path=file"], &[]);
}

#[test]
fn outputs_in_their_order() {
    let request = resolved(&["-d", "r.io/a", "--destination=b:1", "--tar-path=t", "--oci-layout-path=l"], &[]).request;
    let names = vec!["r.io/a:latest".parse().expect("name"), "docker.io/library/b:1".parse().expect("name")];
    let [a, b] = [&names[0], &names[1]].map(|name: &crate::oci::Reference| Output::Registry(name.clone()));
    let layout = Output::Layout { path: "/work/l".into(), names: names.clone() };
    let archive = docker_archive(names);
    assert_eq!(request.outputs, [a, b, layout, archive.clone()]);

    let request = resolved(&["-d", "r.io/a", "--destination=b:1", "--tarPath=t", "--no-push"], &[]).request;
    assert_eq!(request.outputs, [archive], "names stay when nothing is pushed");

    let request = resolved(&["--tar-path=t", "--no-push"], &[]).request;
    let names = vec!["docker.io/unset-repo/unset-image-name:latest".parse().expect("name")];
    assert_eq!(request.outputs, [docker_archive(names)]);
}

#[test]
fn outputs_in_buildkits_words() {
    let request =
        resolved(&["-d", "r.io/a", "-o", "type=registry,name=r.io/b:2", "-o", "type=oci", "-o="], &[]).request;
    let [a, b]: [crate::oci::Reference; 2] = ["r.io/a", "r.io/b:2"].map(|name| name.parse().expect("name"));
    let oci = Output::Archive { form: ArchiveForm::Oci, target: Target::Stdout, names: vec![a.clone()] };
    assert_eq!(request.outputs, [Output::Registry(a), Output::Registry(b), oci.clone()]);
    let request =
        resolved(&["-o", "type=registry,name=r.io/b:2", "-o", "type=docker,dest=d", "--no-push"], &[]).request;
    assert_eq!(request.outputs.len(), 1, "nothing is pushed");
    let named = resolved(&["-o", "type=registry,name=r.io/b:2", "--image-url-file=u"], &[]);
    assert_eq!(values(&named), "Url /work/u", "the name of an output is a name");
    let request = resolved(&["--tar-path=-", "--no-push"], &[]).request;
    assert!(matches!(&request.outputs[..], [Output::Archive { target: Target::Stdout, .. }]));
    assert_eq!(request.form.format, ImageFormat::Oci);
}

#[test]
fn outputs_that_do_not_go_together() {
    let rows: &[(&[&str], &str)] = &[
        (&["-o", "type=oci,compression=zstd", "--compression=gzip"], "--compression and --output"),
        (&["-o", "type=oci,compression=zstd", "-o", "type=oci,dest=o,compression=gzip"], "one --output and --output"),
        (&["-o", "type=oci,compression-level=3", "--compression-level=4"], "different ones"),
        (&["-o", "type=oci,oci-mediatypes=true", "--image-format=docker"], "different ones"),
        (&["--image-format=docker", "--compression=zstd"], "no media type"),
        (&["--image-format=docker", "--annotation=a=b"], "use --label"),
        (&["--image-format=docker", "--mark-origin=both"], "--mark-origin=labels"),
        (&["-o", "type=docker,compression=zstd"], "does not read zstd"),
        (&["-o", "type=docker", "--tar-path=-"], "two outputs"),
        (&["-o", "type=oci,dest=f", "--tar-path=f"], "both would write /work/f"),
        (&["-o", "type=oci,dest=f", "--digest-file=f"], "both would write /work/f"),
        (&["--annotation=index:a=b"], "`yadokari index`"),
        (&["--annotation=manifest-descriptor:a=b"], "there is none"),
        (&["--annotation=manifest[plan9/mips]:a=b"], "the image is for"),
        (&["--compression-level=-5"], "levels from 1 to 9"),
    ];
    for (words, expected) in rows {
        let words: Vec<&str> = words.iter().copied().chain(["--no-push"]).collect();
        let message = refused(&words, &[]);
        assert!(message.contains(expected), "{words:?}: {message}");
    }
    assert!(refused(&[], &[]).contains("--output"));
}

#[test]
fn provenance_that_nobody_asks_for_is_offered_to_registries_alone() {
    for (words, no_default, expected) in [
        ("-d r.io/a", "", (Provenance::Off, true)),
        ("-d r.io/a -o type=oci,dest=x.tar", "false", (Provenance::Off, true)),
        ("-d r.io/a", "1", (Provenance::Off, false)),
        ("-d r.io/a --no-push", "", (Provenance::Off, false)),
        ("--no-push -o type=oci,dest=x.tar", "", (Provenance::Off, false)),
        ("--no-push --attestations-dir=a", "", (Provenance::Min, false)),
        ("-d r.io/a --attestation-format=index", "", (Provenance::Min, false)),
    ] {
        let words: Vec<&str> = words.split(' ').chain(["--provenance=auto"]).collect();
        let said = resolved(&words, &[("BUILDX_NO_DEFAULT_ATTESTATIONS", no_default)]).request.attestations;
        assert_eq!((said.provenance, said.offers_provenance), expected, "{words:?} {no_default}");
    }
}

#[test]
fn variables_arrive() {
    let pushes = |words: &[&str], value| resolved(words, &[("KANIKO_NO_PUSH", value)]).request.outputs.len();
    assert_eq!(pushes(&["-d", "r.io/a"], "true"), 0);
    assert_eq!(pushes(&["-d", "r.io/a", "--no-push"], "0"), 1, "the variable overrides the flag");
    assert_eq!(pushes(&["-d", "r.io/a", "--no-push"], ""), 0, "empty is not set");
    assert!(refused(&["-d", "r.io/a"], &[("KANIKO_NO_PUSH", "maybe")]).contains("KANIKO_NO_PUSH"));

    let taken = resolved(&["--no-push", "--build-arg", "TOKEN", "--build-arg=GONE"], &[("TOKEN", "x=y")]);
    assert_eq!(shown(&taken.request.build_args), "{TOKEN: x=y}");
    assert_eq!(taken.warnings.len(), 1);
    assert!(taken.warnings[0].message.contains("GONE"), "{:?}", taken.warnings);

    let upstream = resolved(&["--no-push"], &[("UPSTREAM_CLIENT_TYPE", "ci")]).network.http.upstream;
    assert_eq!(upstream.as_deref(), Some("ci"));

    assert!(resolved(&["--no-push"], &[("container", "podman")]).names_container);
    let proxies = resolved(&["--no-push"], &[("HTTPS_PROXY", "http://p:1")]).network.http.proxies;
    assert_eq!(proxies.https.as_deref(), Some("http://p:1"));

    let variables = [("KANIKO_REGISTRY_MIRROR", "m.example"), ("KANIKO_REGISTRY_MAP", "q.example=m.example/q")];
    let mapped = resolved(&["--no-push", "--registry-mirror=f.example"], &variables);
    assert_eq!(mirrored(&mapped), "{docker.io: [f.example, m.example], q.example: [m.example/q]}");
}

#[test]
fn credentials_are_looked_for_in_order_and_once() {
    let sources = |words: &[&str], variables: &[(&str, &str)]| {
        let words: Vec<&str> = words.iter().copied().chain(["--no-push"]).collect();
        resolved(&words, variables).network.credentials
    };
    let files = |words: &[&str], variables: &[(&str, &str)]| {
        let names = sources(words, variables).documents.into_iter().map(|document| document.name);
        names.filter(|name| !name.contains("/.docker/.docker")).collect::<Vec<_>>().join(" ")
    };
    let variables = [
        ("DOCKER_CONFIG", "/d"),
        ("HOME", "/h"),
        ("REGISTRY_AUTH_FILE", "r.json"),
        ("XDG_RUNTIME_DIR", "/x"),
        ("DOCKER_AUTH_CONFIG", "{}"),
    ];
    assert_eq!(
        files(&["--registry-auth-file=f.json"], &variables),
        "/work/f.json /d/config.json /kaniko/.docker/config.json /h/.docker/config.json \
         /tekton/creds/.docker/config.json /work/r.json /x/containers/auth.json /h/.config/containers/auth.json \
         DOCKER_AUTH_CONFIG /d/.dockerconfigjson /d/.dockercfg /h/.dockercfg"
    );
    let without = "/kaniko/.docker/config.json /tekton/creds/.docker/config.json";
    assert_eq!(files(&[], &[("DOCKER_CONFIG", "/kaniko/.docker/")]), without);
    assert_eq!(files(&[], &[("DOCKER_AUTH_CONFIG", " ")]), without);

    let logins = [
        ("KANIKO_R_EXAMPLE_USER", "u"),
        ("KANIKO_R_EXAMPLE_PASSWORD", "p"),
        ("KANIKO_OTHER_USER", "alone"),
        ("CI_REGISTRY", "g.example"),
        ("CI_REGISTRY_USER", "c"),
        ("CI_REGISTRY_PASSWORD", "d"),
    ];
    let found = sources(&[], &logins).logins;
    assert_eq!(
        found.iter().map(|login| format!("{} {}", login.user, login.password)).collect::<Vec<_>>(),
        ["u p", "c d"]
    );
    let keychains = |words: &[&str]| shown(sources(words, &[]).keychains);
    assert_eq!(keychains(&[]), "[Environment, Google, Ecr, Acr, Gitlab]");
    assert_eq!(keychains(&["--credential-helpers=acr", "--credential-helpers=env,acr"]), "[Acr, Environment]");
    assert_eq!(keychains(&["--credential-helpers="]), "[]");
    let missing = refused(&["--no-push", "--credential-helpers=none-such"], &[("PATH", "/nowhere")]);
    assert!(missing.contains("docker-credential-none-such"), "{missing}");
}

#[test]
fn the_time_of_an_image() {
    let times = |words: &[&str], variables: &[(&str, &str)]| {
        let words: Vec<&str> = words.iter().copied().chain(["--no-push"]).collect();
        let request = resolved(&words, variables).request;
        (request.created, request.epoch, request.build_args.get("SOURCE_DATE_EPOCH").cloned())
    };
    let variable = [("SOURCE_DATE_EPOCH", "5")];
    assert_eq!(times(&[], &[]), (NOW, None, None));
    assert_eq!(times(&[], &variable), (5, Some(5), Some("5".to_owned())));
    assert_eq!(times(&["--reproducible"], &variable), (5, Some(5), Some("5".to_owned())));
    let argument = "--build-arg=SOURCE_DATE_EPOCH=7";
    assert_eq!(times(&[argument], &variable), (7, Some(7), Some("7".to_owned())));
    assert_eq!(times(&["--build-arg=SOURCE_DATE_EPOCH="], &variable), (NOW, None, Some(String::new())));
    let named = resolved(&["--no-push", "--build-arg=SOURCE_DATE_EPOCH=context", "--reproducible"], &[]).request;
    assert_eq!((named.epoch, named.epoch_of.as_deref()), (Some(0), Some("context")));
    for bad in ["-1", "1.5", "253402300800", "99999999999999999999"] {
        assert!(refused(&["--no-push"], &[("SOURCE_DATE_EPOCH", bad)]).contains("SOURCE_DATE_EPOCH"), "{bad}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let pinned = format!("-d r.io/a@{DIGEST}");
    let rows: Vec<(&str, &str)> = vec![
        ("", "the image needs a --destination or an --output, or --no-push to only build it"),
        ("--tar-path=t", "the image needs a --destination"),
        (&pinned, "an image's digest is not known before it is built"),
        ("-d https://r.io/a", "must not start with a scheme"),
        ("-d r.io/a,r.io/b", "--destination cannot be `r.io/a,r.io/b`"),
        ("-d=", "--destination cannot be ``"),
        ("--no-push --context=", "--context cannot be ``: it is empty"),
        ("--no-push --context=ftp://user:secret@h/x", "--context cannot be `ftp://`: the prefix is not known"),
        ("--no-push --context=http://token:secret@h/x", "an archive must come over https://"),
        ("--no-push --context=https://h/x#md5=1", "what follows `#` must be sha256="),
        ("--no-push --context=https://h/x.git?colour=1", "is not known in its query"),
        ("--no-push --context=https://h/x.git#a:../b", "leaves the repository by `..`"),
        ("--no-push --context=git://h/x#main#nothex", "the commit is no commit id"),
        ("--no-push --context=s3:///k", "it names no bucket"),
        ("--no-push --context=- --dockerfile=-", "do not go together"),
        ("--no-push --context=d --bucket=b", "both name the context"),
        ("--no-push --git=colour=red", "there are branch, single-branch, depth"),
        ("--no-push --git=depth=x", "write a number of commits"),
        ("--no-push --build-context=a", "write NAME=VALUE"),
        ("--no-push --build-context=a=-", "only --context and --dockerfile"),
        ("--no-push --build-context=a=oci-layout://l@x", "no digest"),
        ("--no-push --context-max-size=0", "write a number of bytes"),
        ("--no-push --context-sub-path=a/../b", "it leaves the context by `..`"),
        ("--no-push --dockerfile=http://h/D", "a Dockerfile must come over https://"),
        ("--no-push --build-arg==secret", "--build-arg needs a name before its value"),
        ("--no-push --registry-map=a", "--registry-map cannot be `a`: write NAME=VALUE"),
        ("--no-push --registry-map=a=http://u:secret@m.example", "without http://"),
        ("--no-push --tar-path=- --print-plan", "do not go together"),
        ("--no-push --registries-conf=none", "cannot be `none`: No such file"),
        ("--no-push --registry-mirror=m.example/UPPER", "a mirror is host[:port]"),
        ("--no-push --registry-client-cert=r=c.pem", "write REGISTRY=CERT,KEY"),
        ("--no-push --label=a", "--label cannot be `a`: write NAME=VALUE"),
        ("--no-push --label==a", "--label cannot be `=a`: write NAME=VALUE"),
        ("--no-push --custom-platform=linux/", "--custom-platform cannot be `linux/`: write os/architecture"),
        ("--no-push --compression-level=10", "gzip has levels from 1 to 9"),
        ("--no-push --compression-level=-2", "gzip has levels from 1 to 9"),
        ("--no-push --compression=zstd --compression-level=23", "zstd has levels from 1 to 22"),
        ("--no-push --compression=none --compression-level=1", "nothing to level"),
        ("--no-push --compression=zstd --tar-path=t", "`docker load` does not read zstd everywhere"),
        ("--no-push --tar-path=x --oci-layout-path=./x", "--oci-layout-path and --tar-path do not go together"),
        ("--no-push --digest-file=x --metadata-file=/work/x", "both would write /work/x"),
        ("--no-push --metadata-file=https://u:secret@h/x", "--metadata-file only a value"),
        ("--no-push --offline --digest-file=https://h/x", "--offline and --digest-file do not go together"),
        ("--no-push --oci-layout-path=-", "--oci-layout-path=- (standard output) is not there yet"),
        ("--no-push --image-name-with-digest-file=n", "needs a --destination to take the names from"),
        ("--no-push --image-name-tag-with-digest-file=n", "needs a --destination to take the names from"),
        ("--offline -d r.io/a", "--offline and --destination do not go together"),
        ("--offline --no-push -c git://h/x", "--offline and --context do not go together"),
        ("--offline --no-push -c s3://b/k", "--offline and --context do not go together"),
        ("--offline --no-push -f https://h/D", "--offline and --dockerfile do not go together"),
        ("--offline --no-push --build-context a=docker-image://r.io/a", "--offline and --build-context do not go"),
        ("--offline --no-push --build-context a=https://h/a.tgz", "--offline and --build-context do not go"),
        ("--no-push --ignore-path=/", "everything would be ignored"),
        ("--no-push --ignore-path=", "everything would be ignored"),
        ("--no-push --skip-tls-verify-registry=r/a", "it holds for a whole registry"),
        ("--no-push --insecure-registry=", "name a registry"),
        ("--no-push --registry-certificate=r", "write NAME=VALUE"),
        ("--no-push --registry-certificate=r=", "it needs a file"),
    ];
    for (words, message) in rows {
        let words: Vec<&str> = words.split(' ').filter(|word| !word.is_empty()).collect();
        let refusal = refused(&words, &[]);
        assert!(refusal.contains(message), "{words:?}: {refusal}");
        assert!(!refusal.contains("secret"), "{words:?}: {refusal}");
    }
}

/// What an Argo template with two output parameters looks like to its container.
const ARGO: &str = r#"{"name": "build", "outputs": {"parameters": [
    {"name": "a", "valueFrom": {"path": "/out/image-digest"}},
    {"name": "b", "valueFrom": {"path": "/out/of-another"}, "default": ""},
    {"name": "c", "valueFrom": {"expression": "1"}}]}}"#;

#[test]
fn the_engine_is_found_by_what_it_sets() {
    type Row<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);
    let rows: [Row<'_>; 9] = [
        (&[], &[], "[] None None None None"),
        (&[], &[("ARGO_TEMPLATE", ARGO)], "[Digest /out/image-digest] None None None Some(Argo by $ARGO_TEMPLATE)"),
        (&[], &[("ARGO_TEMPLATE", "{}")], "[] None None None None"),
        (&["--argo-outputs-dir="], &[("ARGO_TEMPLATE", "no JSON")], "[] None None None None"),
        (&[], &[("BUILDER_OUTPUT", "/b")], "[] Some(/b) None None Some(Cloud Build by $BUILDER_OUTPUT)"),
        (
            &[],
            &[("GITHUB_OUTPUT", "/g"), ("GITHUB_STEP_SUMMARY", "/s")],
            "[] None Some(GithubFiles { output: /g, summary: Some(/s) }) None Some(GitHub Actions by $GITHUB_OUTPUT)",
        ),
        (
            &["--github-output", "--pipeline=none"],
            &[("GITHUB_OUTPUT", "g"), ("BUILDER_OUTPUT", "/b")],
            "[] None Some(GithubFiles { output: /work/g, summary: None }) None None",
        ),
        (&["--pipeline=none"], &[("BUILDER_OUTPUT", "/b"), ("ARGO_TEMPLATE", ARGO)], "[] None None None None"),
        (&["--pipeline=gitlab"], &[("CI_PROJECT_DIR", "/p")], "[] None None Some(/p/build.env) None"),
    ];
    for (words, variables, expected) in rows {
        let words: Vec<&str> = ["--no-push"].iter().chain(words).copied().collect();
        let results = resolved(&words, variables).request.results;
        let argo: Vec<String> = results.argo.iter().map(|f| format!("{:?} {}", f.value, f.path.display())).collect();
        let seen = (argo.join(", "), &results.cloud_build, &results.github, &results.dotenv, &results.found);
        let seen = format!("[{}] {} {} {} {}", seen.0, shown(seen.1), shown(seen.2), shown(seen.3), shown(seen.4));
        assert_eq!(seen, expected, "{words:?} {variables:?}");
    }
}

#[test]
fn an_engine_that_is_named_must_be_there() {
    for (flag, variable) in [
        ("--pipeline=argo", "$ARGO_TEMPLATE"),
        ("--pipeline=cloudbuild", "$BUILDER_OUTPUT"),
        ("--pipeline=github", "$GITHUB_OUTPUT"),
        ("--github-output", "$GITHUB_OUTPUT"),
    ] {
        let message = refused(&["--no-push", flag], &[]);
        assert!(message.contains(variable), "{flag}: {message}");
    }
}
