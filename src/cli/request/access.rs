//! The credentials for contexts that the environment has.

use std::path::PathBuf;

use super::UsageError;
use crate::cli::env::Environment;
use crate::cloud::azure::Identity;
use crate::context::{Access, AzureAccess, GitAccess, Login, S3Access, Secret};

/// Where Tekton puts the credentials of a service account.
const TEKTON: &str = "/tekton/creds";

pub(super) fn access(environment: &Environment) -> Result<Access, UsageError> {
    let text = |name: &str| Ok::<_, UsageError>(environment.value(name)?.map(str::to_owned));
    let path = |name: &str| Ok::<_, UsageError>(text(name)?.map(|path| environment.directories.working.join(path)));
    let mut homes: Vec<PathBuf> = path("GIT_CREDENTIALS_DIR")?.into_iter().collect();
    homes.extend(environment.directories.home.clone());
    if !homes.iter().any(|home| home == TEKTON) {
        homes.push(TEKTON.into());
    }
    let pair = |user: &str, password: &str| {
        let (given_user, given_password) = (text(user)?, text(password)?);
        Ok::<_, UsageError>(given_password.map(|secret| Login {
            source: password.to_owned(),
            secret: Secret::Basic { user: given_user.unwrap_or_default(), password: secret },
        }))
    };
    let token = text("CONTEXT_BEARER_TOKEN")?;
    let bearer = token.map(|token| Login { source: "CONTEXT_BEARER_TOKEN".to_owned(), secret: Secret::Bearer(token) });
    // kaniko sends the token as a user without a password; servers take either, and some want a user's name.
    let git_token = text("GIT_TOKEN")?
        .map(|user| Login { source: "GIT_TOKEN".to_owned(), secret: Secret::Basic { user, password: String::new() } });
    Ok(Access {
        homes,
        https: match bearer {
            Some(login) => Some(login),
            None => pair("CONTEXT_USERNAME", "CONTEXT_PASSWORD")?,
        },
        git: GitAccess {
            login: match git_token {
                Some(login) => Some(login),
                None => pair("GIT_USERNAME", "GIT_PASSWORD")?,
            },
            agent: path("SSH_AUTH_SOCK")?,
            keys: Vec::new(),
            known_hosts: path("SSH_KNOWN_HOSTS")?,
        },
        s3: S3Access {
            endpoint: text("S3_ENDPOINT")?,
            force_path_style: text("S3_FORCE_PATH_STYLE")?.is_some_and(|v| crate::cli::args::boolean(&v) == Ok(true)),
        },
        gcs_emulator: text("STORAGE_EMULATOR_HOST")?,
        azure: AzureAccess {
            account_key: text("AZURE_STORAGE_ACCESS_KEY")?,
            signature: text("AZURE_STORAGE_SAS_TOKEN")?,
            identity: azure(environment)?,
            endpoint: text("AZURE_STORAGE_SERVICE_ENDPOINT")?,
        },
    })
}

/// Reads who we are to Azure.
pub(super) fn azure(environment: &Environment) -> Result<Identity, UsageError> {
    let text = |name: &str| Ok::<_, UsageError>(environment.value(name)?.map(str::to_owned));
    Ok(Identity {
        client: text("AZURE_CLIENT_ID")?,
        tenant: text("AZURE_TENANT_ID")?,
        token_file: text("AZURE_FEDERATED_TOKEN_FILE")?.map(|path| environment.directories.working.join(path)),
        client_secret: text("AZURE_CLIENT_SECRET")?,
        authority: text("AZURE_AUTHORITY_HOST")?,
        instance: text("AZURE_POD_IDENTITY_AUTHORITY_HOST")?,
    })
}
