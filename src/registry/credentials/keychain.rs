//! What is asked after the files: variables of the environment, the clouds by host name, helpers of the user's choice.

use std::fmt;
use std::str::FromStr;

use super::{Login, Names, Secret};
use crate::oci::DEFAULT_REGISTRY;

/// A source that is asked when no file knows a registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Keychain {
    /// `KANIKO_<HOST>_USER` and `KANIKO_<HOST>_PASSWORD`.
    Environment,
    /// Google's registries.
    Google,
    /// Amazon's registries.
    Ecr,
    /// Azure's registries.
    Acr,
    /// GitLab's own registry, within its CI.
    Gitlab,
    /// A program `docker-credential-NAME` on `PATH`.
    Program(String),
}

impl Keychain {
    /// Those that are asked unless the user names others, in kaniko's order.
    pub const ALL: [Self; 5] = [Self::Environment, Self::Google, Self::Ecr, Self::Acr, Self::Gitlab];
}

impl FromStr for Keychain {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "env" => Self::Environment,
            "google" => Self::Google,
            "ecr" => Self::Ecr,
            "acr" => Self::Acr,
            "gitlab" => Self::Gitlab,
            other => Self::Program(other.to_owned()),
        })
    }
}

impl fmt::Display for Keychain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("variables KANIKO_<HOST>_USER and _PASSWORD"),
            Self::Google => f.write_str("Google's credentials"),
            Self::Ecr => f.write_str("Amazon's credentials"),
            Self::Acr => f.write_str("Azure's credentials"),
            Self::Gitlab => f.write_str("variables CI_REGISTRY_USER and CI_REGISTRY_PASSWORD"),
            Self::Program(name) => write!(f, "docker-credential-{name}"),
        }
    }
}

/// Finds the login of the environment that is for a registry; the longest name wins.
pub(super) fn login<'a>(logins: &'a [Login], registry: &str, own: bool) -> Option<&'a Login> {
    let host = if registry == DEFAULT_REGISTRY { "index.docker.io" } else { registry };
    let bare = host.split(':').next().unwrap_or(host);
    let fits = |login: &&Login| match &login.names {
        Names::Registry(name) => !own && super::super::settings_key(name) == registry,
        Names::Variable(name) => own && beginnings(bare).any(|text| variable(text) == *name),
    };
    logins.iter().filter(fits).max_by_key(|login| match &login.names {
        Names::Registry(name) | Names::Variable(name) => name.len(),
    })
}

/// Lists a host name and what is left of it when its first labels are dropped one by one.
fn beginnings(host: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(host), |host| host.split_once('.').map(|(_, rest)| rest))
}

/// Writes a host name as a part of a variable's name.
fn variable(host: &str) -> String {
    host.to_uppercase().replace(['.', '-'], "_")
}

impl Login {
    /// Returns the secret.
    pub(super) fn secret(&self) -> Secret {
        Secret::Password { user: self.user.clone(), password: self.password.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_of_a_variable_wins() {
        let named = |name: &str| Login {
            names: Names::Variable(name.to_owned()),
            user: name.to_owned(),
            password: "p".to_owned(),
        };
        let logins = [named("EXAMPLE_COM"), named("REGISTRY_MY_TEAM_EXAMPLE_COM"), named("DOCKER_IO")];
        for (registry, expected) in [
            ("registry.my-team.example.com", Some("REGISTRY_MY_TEAM_EXAMPLE_COM")),
            ("other.example.com:5000", Some("EXAMPLE_COM")),
            ("docker.io", Some("DOCKER_IO")),
            ("ample.com", None),
        ] {
            assert_eq!(login(&logins, registry, true).map(|login| login.user.as_str()), expected, "{registry}");
        }
        assert!(login(&logins, "docker.io", false).is_none());
    }
}
