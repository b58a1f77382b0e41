//! The value of `# check=` and of the build argument `BUILDKIT_DOCKERFILE_CHECK`.

use super::rule::Rule;

/// Which rules hold, and whether breaking one fails the build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    skip: Names,
    experimental: Names,
    /// Whether a finding of one of BuildKit's rules fails the build.
    pub error: bool,
}

/// A list of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names {
    all: bool,
    names: Vec<String>,
}

impl Options {
    /// Reads `skip=A,B;experimental=C;error=true`, each part optional, `all` for every rule.
    ///
    /// # Errors
    /// A message when it has another form. Names of rules are not checked, as BuildKit does not.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut options = Self::default();
        if text.trim().is_empty() {
            return Ok(options);
        }
        for part in text.trim().splitn(3, ';') {
            let invalid = |what: &str| format!("invalid check option {:?}", what.trim());
            let (name, value) = part.split_once('=').ok_or_else(|| invalid(part))?;
            match (name.trim(), value.trim()) {
                ("skip", value) => options.skip = Names::parse(value),
                ("experimental", value) => options.experimental = Names::parse(value),
                ("error", "1" | "t" | "T" | "true" | "TRUE" | "True") => options.error = true,
                ("error", "0" | "f" | "F" | "false" | "FALSE" | "False") => options.error = false,
                ("error", _) => return Err(format!("{}: write true or false", invalid(part))),
                (name, _) => return Err(invalid(name)),
            }
        }
        Ok(options)
    }

    /// Returns the options of the file with those of a comment above one instruction added.
    pub(super) fn with(&self, other: &Self) -> Self {
        Self {
            skip: self.skip.with(&other.skip),
            experimental: self.experimental.with(&other.experimental),
            error: self.error,
        }
    }

    /// Tells whether a rule holds.
    pub fn allows(&self, rule: Rule) -> bool {
        if rule.is_experimental() { self.experimental.has(rule) } else { !self.skip.has(rule) }
    }
}

impl Names {
    fn parse(text: &str) -> Self {
        if text == "all" {
            return Self { all: true, names: Vec::new() };
        }
        Self { all: false, names: text.split(',').map(|name| name.trim().to_owned()).collect() }
    }

    fn with(&self, other: &Self) -> Self {
        Self { all: self.all || other.all, names: [&self.names[..], &other.names].concat() }
    }

    fn has(&self, rule: Rule) -> bool {
        self.all || self.names.iter().any(|name| name == rule.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_buildkit_does() {
        for (text, allowed, experimental, error) in [
            ("", true, false, false),
            ("skip=UndefinedVar", false, false, false),
            (" skip = FromAsCasing , UndefinedVar ; error = true ", false, false, true),
            ("error=T", true, false, true),
            ("error=0;skip=FromAsCasing", true, false, false),
            ("skip=all", false, false, false),
            ("skip=all;experimental=all", false, true, false),
            ("experimental=InvalidDefinitionDescription", true, true, false),
            ("skip=undefinedvar", true, false, false),
        ] {
            let options = Options::parse(text).expect(text);
            assert_eq!(options.allows(Rule::UndefinedVar), allowed, "{text:?}");
            assert_eq!(options.allows(Rule::InvalidDefinitionDescription), experimental, "{text:?}");
            assert_eq!(options.error, error, "{text:?}");
        }
        for text in ["skip", "skip=all;", "error=yes", "warn=all", "skip=a;skip=b;error=true;x"] {
            assert!(Options::parse(text).is_err(), "{text:?}");
        }
    }
}
