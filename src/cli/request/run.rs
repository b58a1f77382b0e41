//! Flags for what RUN gets.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::{UsageError, absolute, cache, context};
use crate::cli::args::{CacheMountArgs, NetworkName, RunArgs};
use crate::cli::env::Environment;
use crate::dockerfile::csv;
use crate::http::MASKED;
use crate::place;
use crate::request::{CacheMounts, Host, LimitedResource, ResourceLimit, RunNetwork, RunSettings, SecretSource};

/// The largest file of build arguments, in bytes: it is read into memory.
const LARGEST_ARGUMENTS: u64 = 16 << 20;
/// The variable that names the agent `default`.
const AGENT: &str = "SSH_AUTH_SOCK";

pub(super) fn settings(args: &RunArgs, environment: &Environment) -> Result<RunSettings, UsageError> {
    args.allow.iter().try_for_each(|right| allow(right))?;
    let given = |list: &'_ [String]| list.iter().filter(|text| !text.is_empty()).cloned().collect::<Vec<_>>();
    let asked = given(&args.secret).iter().map(|text| secret(text, environment)).collect::<Result<Vec<_>, _>>()?;
    let mut secrets = secret_files(args.secret_dir.as_deref(), environment)?;
    let ids = asked.iter().map(|(id, _)| id.clone()).collect();
    secrets.extend(asked);
    Ok(RunSettings {
        network: match args.network {
            None | Some(NetworkName::Default | NetworkName::Host) => RunNetwork::Host,
            Some(NetworkName::None) => RunNetwork::None,
        },
        hosts: given(&args.add_host).iter().map(|text| host(text)).collect::<Result<_, _>>()?,
        shared_memory: size("--shm-size", args.shm_size.as_deref())?,
        limits: given(&args.ulimit).iter().map(|text| limit(text)).collect::<Result<_, _>>()?,
        asked: ids,
        secrets,
        agents: given(&args.ssh).iter().map(|text| agent(text, environment)).collect::<Result<_, _>>()?,
        caches: caches(&args.caches, environment)?,
    })
}

/// Reads the files of `--build-arg-file` as `--build-arg`s.
pub(super) fn build_arg_files(given: &[String], environment: &Environment) -> Result<Vec<String>, UsageError> {
    let mut arguments = Vec::new();
    for name in given.iter().filter(|name| !name.is_empty()) {
        let path = absolute(Path::new(name), &environment.directories.working);
        let text = place::read_named(&path, &environment.directories.working, LARGEST_ARGUMENTS)
            .and_then(|bytes| String::from_utf8(bytes).map_err(|error| io::Error::other(error.utf8_error())));
        let text = text.map_err(|error| wrong("--build-arg-file", name, &error.to_string()))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        arguments.extend(lines.map(str::to_owned));
    }
    Ok(arguments)
}

fn wrong(flag: &'static str, value: &str, reason: &str) -> UsageError {
    UsageError::Value { flag, value: value.to_owned(), reason: reason.to_owned() }
}

/// RUN has the executor's network anyhow; nothing gives it more rights than the executor has.
fn allow(right: &str) -> Result<(), UsageError> {
    match right {
        "" | "network.host" => Ok(()),
        "security.insecure" => {
            Err(wrong("--allow", right, "RUN never has more rights than the executor's own container"))
        }
        "device" => Err(wrong("--allow", right, "RUN sees the devices of the pod; it cannot be given others")),
        _ => Err(wrong("--allow", right, "there is no such right; it can be network.host")),
    }
}

/// Reads `NAME:ADDRESS` or `NAME=ADDRESS`; an IPv6 address may stand in brackets.
fn host(text: &str) -> Result<Host, UsageError> {
    let error = |reason: &str| wrong("--add-host", text, reason);
    let (name, address) =
        text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(|| error("write NAME=ADDRESS"))?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(error("write a name without spaces before the address"));
    }
    if address == "host-gateway" {
        return Err(error("a pod has no host gateway; give the address itself"));
    }
    let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    let address: IpAddr = bare.parse().map_err(|_| error("what stands behind the name is no IP address"))?;
    Ok(Host { name: name.to_owned(), address })
}

fn size(flag: &'static str, given: Option<&str>) -> Result<Option<u64>, UsageError> {
    given.filter(|text| !text.is_empty()).map(|text| context::size(flag, text)).transpose()
}

const RESOURCES: [(&str, LimitedResource); 16] = [
    ("as", LimitedResource::As),
    ("core", LimitedResource::Core),
    ("cpu", LimitedResource::Cpu),
    ("data", LimitedResource::Data),
    ("fsize", LimitedResource::Fsize),
    ("locks", LimitedResource::Locks),
    ("memlock", LimitedResource::Memlock),
    ("msgqueue", LimitedResource::Msgqueue),
    ("nice", LimitedResource::Nice),
    ("nofile", LimitedResource::Nofile),
    ("nproc", LimitedResource::Nproc),
    ("rss", LimitedResource::Rss),
    ("rtprio", LimitedResource::Rtprio),
    ("rttime", LimitedResource::Rttime),
    ("sigpending", LimitedResource::Sigpending),
    ("stack", LimitedResource::Stack),
];

/// Reads `NAME=SOFT[:HARD]`; -1 is no limit, and one number is both.
fn limit(text: &str) -> Result<ResourceLimit, UsageError> {
    let error = |reason: &str| wrong("--ulimit", text, reason);
    let (name, values) =
        text.split_once('=').ok_or_else(|| error("write NAME=SOFT[:HARD], for example nofile=1024:4096"))?;
    let known = RESOURCES.iter().find(|(known, _)| *known == name);
    let names = || RESOURCES.map(|(name, _)| name).join(", ");
    let (_, resource) = known.ok_or_else(|| error(&format!("it can be {}", names())))?;
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(None),
        text => text.parse().map(Some).map_err(|_| error("a limit is a number, or -1 for none")),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
        return Err(error("the first number must not be larger than the second"));
    }
    Ok(ResourceLimit { resource: *resource, soft, hard })
}

/// Hides what is no field of `--secret`: who gave it may have meant the secret itself.
fn without_values(text: &str) -> String {
    let fields = text.split(',').map(|field| match field.split_once('=') {
        Some(("id" | "type" | "src" | "source" | "env", _)) => field.to_owned(),
        Some((key, _)) => format!("{key}={MASKED}"),
        None => MASKED.to_owned(),
    });
    fields.collect::<Vec<_>>().join(",")
}

/// Lists the files of `--secret-dir`. Kubernetes has the files of a volume in directories of its own whose names begin
/// with two dots, and links to them.
fn secret_files(
    directory: Option<&Path>,
    environment: &Environment,
) -> Result<BTreeMap<String, SecretSource>, UsageError> {
    let Some(directory) = directory.filter(|path| !path.as_os_str().is_empty()) else { return Ok(BTreeMap::new()) };
    let directory = absolute(directory, &environment.directories.working);
    let listed = std::fs::read_dir(&directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let listed = listed.map_err(|error| wrong("--secret-dir", &directory.display().to_string(), &error.to_string()))?;
    let files = listed.into_iter().filter_map(|entry| {
        let name = entry.file_name().into_string().ok().filter(|name| !name.starts_with(".."))?;
        entry.path().is_file().then(|| (name, SecretSource::File(entry.path())))
    });
    Ok(files.collect())
}

/// Reads `id=ID[,type=file|env][,src=FILE|,env=VARIABLE]`; an id alone is the variable or else the file of that name,
/// as for buildx.
fn secret(text: &str, environment: &Environment) -> Result<(String, SecretSource), UsageError> {
    let error = |reason: &str| wrong("--secret", &without_values(text), reason);
    let fields = csv(text).map_err(|cause| error(&cause.to_string()))?;
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in &fields {
        let (key, value) = field.split_once('=').ok_or_else(|| error("each field is KEY=VALUE"))?;
        let slot = match key.to_ascii_lowercase().as_str() {
            "id" => &mut id,
            "src" | "source" => &mut file,
            "env" => &mut variable,
            "type" => &mut kind,
            _ => return Err(error("it has the fields id, type, src and env")),
        };
        *slot = Some(value).filter(|value| !value.is_empty());
    }
    let id = id.ok_or_else(|| error("it needs an id"))?;
    match kind {
        Some("file") if variable.is_some() => return Err(error("it is from a file or from a variable, not from both")),
        None | Some("file") => {}
        // `type=env,src=NAME` is another way to write `env=NAME`.
        Some("env") => variable = variable.or(file.take()).or(Some(id)),
        Some(_) => return Err(error("its type is file or env")),
    }
    let of_variable = |name: &str| match environment.variable(name)? {
        Some(value) => Ok(SecretSource::Value(value.to_owned())),
        None => Err(error("there is no environment variable of that name")),
    };
    let of_file = |path: &str| SecretSource::File(absolute(Path::new(path), &environment.directories.working));
    let source = match (variable, file) {
        (Some(_), Some(_)) => return Err(error("it is from a file or from a variable, not from both")),
        (Some(name), None) => of_variable(name)?,
        (None, Some(path)) => of_file(path),
        (None, None) if kind.is_none() && environment.variable(id)?.is_some() => of_variable(id)?,
        (None, None) => of_file(id),
    };
    Ok((id.to_owned(), source))
}

/// Reads `default` or `ID[=SOCKET|=KEY[,KEY…]]`.
fn agent(text: &str, environment: &Environment) -> Result<(String, Vec<PathBuf>), UsageError> {
    let (id, paths) = text.split_once('=').map_or((text, None), |(id, paths)| (id, Some(paths)));
    let paths = match paths.filter(|paths| !paths.is_empty()) {
        Some(paths) => paths,
        None => environment
            .variable(AGENT)?
            .filter(|path| !path.is_empty())
            .ok_or_else(|| wrong("--ssh", text, "SSH_AUTH_SOCK is not set; write ID=SOCKET or ID=KEY"))?,
    };
    let id = if id.is_empty() { "default" } else { id };
    let paths = paths.split(',').filter(|path| !path.is_empty());
    Ok((id.to_owned(), paths.map(|path| absolute(Path::new(path), &environment.directories.working)).collect()))
}

fn caches(args: &CacheMountArgs, environment: &Environment) -> Result<CacheMounts, UsageError> {
    let directory = args.cache_mounts.as_deref().filter(|path| !path.as_os_str().is_empty());
    let directory = directory.map(|path| absolute(path, &environment.directories.working));
    let max_size = size("--cache-mounts-max-size", args.cache_mounts_max_size.as_deref())?;
    let max_age = args.cache_mounts_max_age.map(|age| age.as_secs());
    let repository = args.cache_mounts_repo.as_deref().filter(|text| !text.is_empty());
    let repository = repository.map(|text| cache::reference("--cache-mounts-repo", text)).transpose()?;
    if directory.is_some() && repository.is_some() {
        let reason = "cache mounts are kept in one place".to_owned();
        return Err(UsageError::Conflict { first: "--cache-mounts", second: "--cache-mounts-repo", reason });
    }
    if directory.is_none() && repository.is_none() && (max_size.is_some() || max_age.is_some()) {
        let message = "--cache-mounts-max-size and --cache-mounts-max-age need --cache-mounts or --cache-mounts-repo";
        return Err(UsageError::Missing { message });
    }
    if directory.as_deref() == Some(Path::new("/")) {
        return Err(wrong("--cache-mounts", "/", "give it a directory of its own"));
    }
    Ok(CacheMounts { directory, repository, max_size, max_age })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::env::Moment;

    fn environment() -> Environment {
        let variables =
            [("TOKEN", "t0p"), ("SSH_AUTH_SOCK", "/agent")].map(|(name, value)| (name.into(), value.into()));
        Environment::new(variables, "/work".into(), Moment { now: 7, token: "t".to_owned() }, false)
    }

    #[test]
    fn secrets_are_files_or_variables() {
        let file = |path: &str| SecretSource::File(path.into());
        let value = || SecretSource::Value("t0p".to_owned());
        for (text, id, source) in [
            ("id=a,src=f", "a", file("/work/f")),
            ("id=a,source=/f", "a", file("/f")),
            ("id=a,\"src=/f,g\"", "a", file("/f,g")),
            ("id=a,env=TOKEN", "a", value()),
            ("id=a,type=env,src=TOKEN", "a", value()),
            ("id=TOKEN,type=env", "TOKEN", value()),
            ("id=TOKEN", "TOKEN", value()),
            ("id=TOKEN,type=file", "TOKEN", file("/work/TOKEN")),
            ("id=a", "a", file("/work/a")),
        ] {
            assert_eq!(secret(text, &environment()).expect(text), (id.to_owned(), source), "{text}");
        }
        for (text, reason) in [
            ("src=f", "it needs an id"),
            ("id=a,env=NONE", "no environment variable"),
            ("id=a,env=TOKEN,src=f", "not from both"),
            ("id=a,type=file,env=TOKEN", "not from both"),
            ("id=a,type=vault", "file or env"),
            ("id=a,mode=1", "fields id"),
            ("a", "KEY=VALUE"),
        ] {
            let error = secret(text, &environment()).expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(!format!("{:?}", value()).contains("t0p"));
    }

    #[test]
    fn agents_are_sockets_or_keys() {
        for (text, id, path) in [
            ("default", "default", &["/agent"][..]),
            ("default=/x", "default", &["/x"]),
            ("git=x", "git", &["/work/x"]),
            ("git", "git", &["/agent"]),
            ("git=/k,l,", "git", &["/k", "/work/l"]),
        ] {
            let paths = path.iter().map(PathBuf::from).collect();
            assert_eq!(agent(text, &environment()).expect(text), (id.to_owned(), paths));
        }
    }

    #[test]
    fn hosts_and_limits() {
        for (text, name, address) in
            [("a:10.0.0.1", "a", "10.0.0.1"), ("a=::1", "a", "::1"), ("a:::1", "a", "::1"), ("a=[::1]", "a", "::1")]
        {
            let read = host(text).expect(text);
            assert_eq!((read.name.as_str(), read.address.to_string().as_str()), (name, address), "{text}");
        }
        for text in ["a", "a:", "=1.1.1.1", "a=b", "a=host-gateway", "a b=1.1.1.1"] {
            assert!(host(text).is_err(), "{text}");
        }
        for (text, soft, hard) in [
            ("nofile=1", Some(1), Some(1)),
            ("nofile=1:2", Some(1), Some(2)),
            ("nofile=1:-1", Some(1), None),
            ("nofile=-1", None, None),
        ] {
            let read = limit(text).expect(text);
            assert_eq!((read.resource, read.soft, read.hard), (LimitedResource::Nofile, soft, hard), "{text}");
        }
        for text in ["nofile", "nofile=", "nofile=2:1", "nofile=-1:1", "files=1", "nofile=1:2:3"] {
            assert!(limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rights_beyond_the_executors_are_refused() {
        assert!(allow("network.host").is_ok());
        assert!(allow("security.insecure").expect_err("a right").to_string().contains("more rights"));
        assert!(allow("everything").is_err());
    }
}
