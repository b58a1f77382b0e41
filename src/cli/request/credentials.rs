//! Where registry credentials are: all places, in the order in which they are asked.

use std::path::{Path, PathBuf};

use super::UsageError;
use crate::cli::args::CredentialArgs;
use crate::cli::env::{Environment, KANIKO};
use crate::registry::{Content, Document, Endpoints, Keychain, Login, Names, Sources, find_program};

const HELPERS: &str = "--credential-helpers";
/// Where Tekton puts the secrets of a step's service account, whatever HOME is.
const TEKTON: &str = "/tekton/creds/.docker";
/// The keys of Kubernetes' secrets, which are the names of the files when such a secret is mounted as it is.
const SECRET_FILES: [&str; 2] = [".dockerconfigjson", ".dockercfg"];
const GCLOUD: &str = ".config/gcloud/application_default_credentials.json";

/// Lists the sources, each file once.
pub(super) fn sources(args: &CredentialArgs, environment: &Environment) -> Result<Sources, UsageError> {
    let directories = &environment.directories;
    let mut documents: Vec<Document> = Vec::new();
    for path in &args.registry_auth_file {
        add(&mut documents, directories.working.join(path), true);
    }
    let places = [
        directories.docker_config.clone(),
        Some(Path::new(KANIKO).join(".docker")),
        directories.home.as_ref().map(|home| home.join(".docker")),
        Some(PathBuf::from(TEKTON)),
    ];
    let places: Vec<PathBuf> = places.into_iter().flatten().collect();
    for place in &places {
        add(&mut documents, place.join("config.json"), false);
    }
    for path in podman_files(environment)? {
        add(&mut documents, path, false);
    }
    if let Some(text) = environment.variable("DOCKER_AUTH_CONFIG")?.filter(|text| !text.trim().is_empty()) {
        let content = Content::Text(text.to_owned());
        documents.push(Document { name: "DOCKER_AUTH_CONFIG".to_owned(), content, required: true });
    }
    for place in &places {
        SECRET_FILES.iter().for_each(|name| add(&mut documents, place.join(name), false));
    }
    directories.home.iter().for_each(|home| add(&mut documents, home.join(".dockercfg"), false));
    Ok(Sources {
        documents,
        logins: logins(environment)?,
        keychains: keychains(args, &directories.programs)?,
        helper_directories: directories.programs.clone(),
    })
}

/// Adds a file that is not there yet.
fn add(documents: &mut Vec<Document>, path: PathBuf, required: bool) {
    let name = path.display().to_string();
    if !documents.iter().any(|document| document.name == name) {
        documents.push(Document { name, content: Content::File(path), required });
    }
}

/// Lists Podman's files. Source: containers-auth.json(5).
fn podman_files(environment: &Environment) -> Result<Vec<PathBuf>, UsageError> {
    let path = |name: &str| {
        let value = environment.value(name)?;
        Ok::<_, UsageError>(value.map(|value| environment.directories.working.join(value)))
    };
    let configuration = match path("XDG_CONFIG_HOME")? {
        Some(directory) => Some(directory),
        None => environment.directories.home.as_ref().map(|home| home.join(".config")),
    };
    let files = [
        path("REGISTRY_AUTH_FILE")?,
        path("XDG_RUNTIME_DIR")?.map(|directory| directory.join("containers/auth.json")),
        configuration.map(|directory| directory.join("containers/auth.json")),
    ];
    Ok(files.into_iter().flatten().collect())
}

/// Reads the users and passwords of the environment.
fn logins(environment: &Environment) -> Result<Vec<Login>, UsageError> {
    let value = |name: &str| Ok::<_, UsageError>(environment.value(name)?.map(str::to_owned));
    let login = |names: Names, user: &str, password: &str| {
        let pair = value(user)?.zip(value(password)?);
        Ok::<_, UsageError>(pair.map(|(user, password)| Login { names, user, password }))
    };
    let mut logins = Vec::new();
    for name in environment.names() {
        let Some(host) = name.strip_prefix("KANIKO_").and_then(|rest| rest.strip_suffix("_USER")) else { continue };
        logins.extend(login(Names::Variable(host.to_owned()), name, &format!("KANIKO_{host}_PASSWORD"))?);
    }
    if let Some(registry) = value("CI_REGISTRY")? {
        logins.extend(login(Names::Registry(registry), "CI_REGISTRY_USER", "CI_REGISTRY_PASSWORD")?);
    }
    Ok(logins)
}

fn keychains(args: &CredentialArgs, programs: &[PathBuf]) -> Result<Vec<Keychain>, UsageError> {
    let Some(names) = &args.credential_helpers else { return Ok(Keychain::ALL.to_vec()) };
    let mut keychains = Vec::new();
    for name in names.iter().map(|name| name.trim()).filter(|name| !name.is_empty()) {
        let Ok(keychain) = name.parse();
        if let Keychain::Program(program) = &keychain
            && (program.contains('/') || find_program(programs, &format!("docker-credential-{program}")).is_none())
        {
            let reason = format!(
                "there are env, google, ecr, acr and gitlab, and no program docker-credential-{program} is on PATH"
            );
            return Err(UsageError::Value { flag: HELPERS, value: name.to_owned(), reason });
        }
        if !keychains.contains(&keychain) {
            keychains.push(keychain);
        }
    }
    Ok(keychains)
}

/// Reads where the clouds' services are.
pub(super) fn endpoints(environment: &Environment) -> Result<Endpoints, UsageError> {
    let value = |name: &str| Ok::<_, UsageError>(environment.value(name)?.map(str::to_owned));
    let either = |first: &str, second: &str| Ok::<_, UsageError>(value(first)?.or(value(second)?));
    let gcloud = environment.directories.home.as_ref().map(|home| home.join(GCLOUD)).filter(|path| path.is_file());
    let named = value("GOOGLE_APPLICATION_CREDENTIALS")?.map(|path| environment.directories.working.join(path));
    Ok(Endpoints {
        ecr: either("AWS_ENDPOINT_URL_ECR", "AWS_ENDPOINT_URL")?,
        ecr_public: either("AWS_ENDPOINT_URL_ECR_PUBLIC", "AWS_ENDPOINT_URL")?,
        aws_region: either("AWS_REGION", "AWS_DEFAULT_REGION")?,
        google_metadata: value("GCE_METADATA_HOST")?,
        google_file: named.or(gcloud),
    })
}

/// Reads where Amazon's KMS is, if not at its usual place.
pub(super) fn aws_kms(environment: &Environment) -> Result<Option<String>, UsageError> {
    let named = environment.value("AWS_ENDPOINT_URL_KMS")?;
    let named = if named.is_none() { environment.value("AWS_ENDPOINT_URL")? } else { named };
    Ok(named.map(str::to_owned))
}

/// Lists the files of credentials that variables name and only the clouds' SDKs read.
pub(super) fn named_files(environment: &Environment) -> Result<Vec<PathBuf>, UsageError> {
    let names = ["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE"];
    let named = names.into_iter().map(|name| environment.value(name)).collect::<Result<Vec<_>, _>>()?;
    Ok(named.into_iter().flatten().map(|path| environment.directories.working.join(path)).collect())
}
