//! Contexts from object stores: archives and directories of objects, versions, and logins that are refused.

use std::path::Path;

use crate::context_archive::{built, expected, sources};
use crate::support::executor::Executor;
use crate::support::isolation::Isolation;
use crate::support::objects::{AZURE_ACCOUNT, AZURE_KEY, ObjectStore};
use crate::support::scratch::Scratch;
use crate::support::skips;

/// Makes sources that a bucket can hold as a directory: no links, no executable files.
fn plain() -> Scratch {
    let scratch = Scratch::new("sources");
    scratch.file("Dockerfile", "FROM scratch\nCOPY . /\n");
    scratch.file("context/Dockerfile", "FROM scratch\nCOPY . /\n");
    scratch.file("context/d/e/f", "one\n");
    scratch.file("context/large", vec![7; 3 << 20]);
    scratch
}

const S3: &str = "
import sys, boto3, os, json
url, archive, context = sys.argv[1:4]
s3 = boto3.client('s3', endpoint_url=url, aws_access_key_id='AK', aws_secret_access_key='SK', region_name='us-east-1')
s3.create_bucket(Bucket='bucket')
s3.put_bucket_versioning(Bucket='bucket', VersioningConfiguration={'Status': 'Enabled'})
version = s3.put_object(Bucket='bucket', Key='dir/c.tgz', Body=open(archive, 'rb').read())['VersionId']
s3.put_object(Bucket='bucket', Key='dir/c.tgz', Body=b'something else')
s3.put_object(Bucket='bucket', Key='context.tar.gz', Body=open(archive, 'rb').read())
for base, _, names in os.walk(context):
    for name in names:
        path = os.path.join(base, name)
        if os.path.exists(path):
            s3.put_object(Bucket='bucket', Key='tree/' + os.path.relpath(path, context), Body=open(path, 'rb').read())
print(version)
";

#[test]
fn s3_archives_directories_and_versions() {
    let Some(store) = ObjectStore::s3() else {
        return skips::skip("context: s3", "moto is not installed: see tests/run.sh");
    };
    let (sources, plain) = (sources(), plain());
    let [archive, context] = [sources.join("c.tar.gz"), plain.join("context")].map(|path| path.display().to_string());
    let version = store.python(S3, &[&archive, &context]);
    if Isolation::Namespace.allowed("context: s3") {
        let build = |sources: &Scratch, context: &str| {
            let mut executor = Executor::new(Isolation::Namespace, sources.path());
            executor.env("S3_ENDPOINT", &store.url).env("S3_FORCE_PATH_STYLE", "true");
            executor.env("AWS_ACCESS_KEY_ID", "AK").env("AWS_SECRET_ACCESS_KEY", "SK").env("AWS_REGION", "us-east-1");
            built(&mut executor, context)
        };
        assert_eq!(build(&sources, "s3://bucket"), expected(&sources));
        assert_eq!(build(&sources, &format!("s3://bucket/dir/c.tgz?versionId={version}")), expected(&sources));
        assert_eq!(build(&plain, "s3://bucket/tree/"), expected(&plain));
    }
    // Without any credentials nothing is sent.
    let mut executor = Executor::new(Isolation::Namespace, sources.path());
    executor.env("S3_ENDPOINT", &store.url).env("S3_FORCE_PATH_STYLE", "true").env("AWS_EC2_METADATA_DISABLED", "true");
    executor.only_layout().add(&["--context=s3://bucket/dir/c.tgz"]);
    let refused = executor.run().expect(77);
    assert!(refused.stderr.contains("s3://bucket/dir/c.tgz"), "{}", refused.stderr);
}

const GCS: &str = "
import sys, os, urllib.request, urllib.parse, json
url, archive, context = sys.argv[1:4]
def post(path, body, kind):
    request = urllib.request.Request(url + path, data=body, headers={'Content-Type': kind}, method='POST')
    return json.load(urllib.request.urlopen(request))
post('/storage/v1/b', json.dumps({'name': 'bucket', 'versioning': {'enabled': True}}).encode(), 'application/json')
def put(name, body):
    path = '/upload/storage/v1/b/bucket/o?uploadType=media&name=' + urllib.parse.quote(name, safe='')
    return post(path, body, 'application/octet-stream')
put('dir/c.tgz', open(archive, 'rb').read())
put('context.tar.gz', open(archive, 'rb').read())
print(put('dir/pinned.tgz', open(archive, 'rb').read())['generation'])
put('dir/pinned.tgz', b'something else')
for base, _, names in os.walk(context):
    for name in names:
        path = os.path.join(base, name)
        if os.path.exists(path):
            put('tree/' + os.path.relpath(path, context), open(path, 'rb').read())
";

/// Puts an archive into the bucket `bucket`, as `context.tar.gz` and `dir/c.tgz`, and the files of a directory as `tree/`;
/// returns the generation of `dir/pinned.tgz` that is the archive.
pub(crate) fn gcs_objects(store: &ObjectStore, archive: &Path, context: &Path) -> String {
    store.python(GCS, &[&archive.display().to_string(), &context.display().to_string()])
}

#[test]
fn gcs_archives_and_directories() {
    let Some(store) = ObjectStore::gcs() else {
        return skips::skip("context: gcs", "fake-gcs-server is not installed: see tests/run.sh");
    };
    let (sources, plain) = (sources(), plain());
    let generation = gcs_objects(&store, &sources.join("c.tar.gz"), &plain.join("context"));
    if Isolation::Namespace.allowed("context: gcs") {
        let build = |sources: &Scratch, context: &str| {
            let mut executor = Executor::new(Isolation::Namespace, sources.path());
            executor.env("STORAGE_EMULATOR_HOST", &store.url);
            built(&mut executor, context)
        };
        assert_eq!(build(&sources, "gs://bucket"), expected(&sources));
        assert_eq!(build(&sources, "gs://bucket/dir/c.tgz"), expected(&sources));
        assert_eq!(build(&sources, &format!("gs://bucket/dir/pinned.tgz#{generation}")), expected(&sources));
        assert_eq!(build(&plain, "gs://bucket/tree/"), expected(&plain));
        let mut executor = Executor::new(Isolation::Namespace, sources.path());
        executor.env("STORAGE_EMULATOR_HOST", &store.url).add(&["--bucket=bucket/dir/c.tgz"]);
        assert_eq!(built(&mut executor, ""), expected(&sources));
    }
}

const AZURE: &str = "
import sys, base64, hashlib, hmac, urllib.request, urllib.parse, email.utils
url, account, key, archive = sys.argv[1:5]
def put(path, query, body, extra):
    headers = dict(extra, **{'x-ms-date': email.utils.formatdate(usegmt=True), 'x-ms-version': '2021-12-02'})
    length = str(len(body)) if body else ''
    kind = 'application/octet-stream'
    canonical = ''.join('%s:%s\\n' % item for item in sorted(headers.items()))
    resource = '/%s/%s/%s' % (account, account, path) + ('\\nrestype:container' if query else '')
    text = 'PUT\\n\\n\\n%s\\n\\n%s\\n\\n\\n\\n\\n\\n\\n%s%s' % (length, kind, canonical, resource)
    digest = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    headers['Authorization'] = 'SharedKey %s:%s' % (account, base64.b64encode(digest).decode())
    headers['Content-Type'] = kind
    target = '%s/%s/%s%s' % (url, account, path, query)
    urllib.request.urlopen(urllib.request.Request(target, data=body, headers=headers, method='PUT'))
put('box', '?restype=container', b'', {})
put('box/c.tgz', '', open(archive, 'rb').read(), {'x-ms-blob-type': 'BlockBlob'})
# A signature that lets anyone read this blob.
version, expiry = '2021-12-02', '2099-01-01T00:00:00Z'
fields = ['r', '', expiry, '/blob/%s/box/c.tgz' % account, '', '', '', version, 'b', '', '', '', '', '', '', '']
digest = hmac.new(base64.b64decode(key), '\\n'.join(fields).encode(), hashlib.sha256).digest()
signature = base64.b64encode(digest).decode()
print(urllib.parse.urlencode({'sv': version, 'sr': 'b', 'sp': 'r', 'se': expiry, 'sig': signature}))
";

/// Puts an archive into the container `box`, as `c.tgz`, and returns a signature for it.
pub(crate) fn azure_blob(store: &ObjectStore, archive: &Path) -> String {
    store.python(AZURE, &[AZURE_ACCOUNT, AZURE_KEY, &archive.display().to_string()])
}

#[test]
fn azure_blobs_with_key_and_signature() {
    let Some(store) = ObjectStore::azure() else {
        return skips::skip("context: azure", "Azurite is not installed (it needs npm): see tests/run.sh");
    };
    let sources = sources();
    let signature = azure_blob(&store, &sources.join("c.tar.gz"));
    let url = format!("https://{AZURE_ACCOUNT}.blob.core.windows.net/box/c.tgz");
    if Isolation::Namespace.allowed("context: azure") {
        let mut executor = Executor::new(Isolation::Namespace, sources.path());
        executor.env("AZURE_STORAGE_SERVICE_ENDPOINT", &store.url).env("AZURE_STORAGE_ACCESS_KEY", AZURE_KEY);
        assert_eq!(built(&mut executor, &url), expected(&sources));
    }
    let mut executor = Executor::new(Isolation::Namespace, sources.path());
    executor.env("AZURE_STORAGE_SERVICE_ENDPOINT", &store.url).env("AZURE_STORAGE_ACCESS_KEY", "c2VjcmV0");
    executor.only_layout().add(&[&format!("--context={url}")]);
    let refused = executor.run().expect(77);
    assert!(refused.stderr.contains("AZURE_STORAGE_ACCESS_KEY"), "{}", refused.stderr);
    let signed = |context: &str, signature: &str| {
        let mut executor = Executor::new(Isolation::Namespace, sources.path());
        executor.env("AZURE_STORAGE_SERVICE_ENDPOINT", &store.url).env("AZURE_STORAGE_SAS_TOKEN", signature);
        executor.only_layout().add(&[&format!("--context={context}"), "--dockerfile=Dockerfile", "--reproducible"]);
        executor.run()
    };
    assert_eq!(signed(&url, &signature).expect(0).image().digest, expected(&sources));
    assert_eq!(signed(&url, &format!("?{signature}")).expect(0).image().digest, expected(&sources));
    assert_eq!(signed(&format!("{url}?{signature}"), "").expect(0).image().digest, expected(&sources));
    let wrong = signature.replace("sp=r", "sp=w");
    let refused = signed(&format!("{url}?{wrong}"), "").expect(77);
    assert!(refused.stderr.contains("signature of the URL") && !refused.stderr.contains(&wrong), "{}", refused.stderr);
}
