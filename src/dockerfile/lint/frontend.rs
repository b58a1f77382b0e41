//! Which frontend a Dockerfile asks for: `# syntax=`, or the build argument `BUILDKIT_SYNTAX`.
//!
//! BuildKit runs the image that is named there, which reads the file in its own way. No such image is run here: all files
//! are read as `docker/dockerfile` reads them.

use super::super::error::Warning;
use super::super::instruction::Span;
use super::Rule;

/// The build argument that stands in for `# syntax=`.
pub const SYNTAX_ARGUMENT: &str = "BUILDKIT_SYNTAX";

/// The names of the frontend whose language is read here, in whatever registry or mirror.
const KNOWN: [&str; 2] = ["dockerfile", "dockerfile-upstream"];

/// Warns of a frontend that reads another language than Dockerfiles, as far as its name tells.
pub(crate) fn frontend(named: &str, span: Span) -> Option<Warning> {
    let image = named.split_whitespace().next()?;
    let name = image.split('@').next()?.rsplit('/').next()?.split(':').next()?;
    let message = || {
        format!(
            "The frontend {image} is not run: the file is read as docker/dockerfile reads it, and what else the frontend \
             would do is not done"
        )
    };
    (!KNOWN.contains(&name)).then(|| Warning::new(Rule::UnknownFrontend, span, message()).about(image))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_frontend_of_dockerfiles_is_known() {
        let known = [
            "docker/dockerfile",
            "docker/dockerfile:1",
            "docker/dockerfile:1.7-labs",
            "docker.io/docker/dockerfile:1",
            "docker/dockerfile-upstream:master",
            "registry.example.com:5000/mirror/docker/dockerfile:1@sha256:00",
            "",
        ];
        let others = ["tonistiigi/bob:1", "docker/dockerfiles", "registry.example.com:5000/dockerfile/buildpacks:1"];
        for text in known {
            assert_eq!(frontend(text, Span::default()), None, "{text}");
        }
        for text in others {
            assert!(frontend(text, Span::default()).is_some_and(|found| found.message.contains(text)), "{text}");
        }
    }
}
