//! Licences: which of the texts that packages state are expressions of SPDX.
//!
//! Source: SPDX 2.3, annex D; the shorter names are those of
//! <https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/#license-short-name>.

use spdx::{Expression, ParseMode};

/// What a package states of its licence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Licence {
    /// One licence of SPDX's list.
    Id(String),
    /// Several of them, or with exceptions.
    Expression(String),
    /// Anything else.
    Named(String),
}

/// Names that were given up are names of packages that have not changed since.
const MODE: ParseMode = ParseMode {
    allow_slash_as_or_operator: false,
    allow_imprecise_license_names: false,
    allow_postfix_plus_on_gpl: true,
    allow_deprecated: true,
    allow_unknown: false,
};

/// No text that is longer is an expression.
const LONGEST: usize = 1024;

impl Licence {
    /// Reads what a package states.
    pub(super) fn of(text: &str) -> Self {
        let text = text.trim();
        if let Some(id) = spdx::license_id(text).filter(|id| id.name == text) {
            return Self::Id(id.name.to_owned());
        }
        if let Some(id) = short(text) {
            return Self::Id(id);
        }
        if text.len() <= LONGEST && Expression::parse_mode(text, MODE).is_ok() {
            return Self::Expression(text.to_owned());
        }
        Self::Named(text.to_owned())
    }
}

/// Returns the name that SPDX has for one of Debian's or rpm's short ones.
fn short(text: &str) -> Option<String> {
    let (base, or_later) = match text.strip_suffix('+') {
        Some(base) => (base, true),
        None => (text, false),
    };
    if let Some((family, version)) = base.split_once('-').filter(|(family, _)| is_gnu(family)) {
        let version = if version.contains('.') { version.to_owned() } else { format!("{version}.0") };
        return spdx::gnu_license_id(&format!("{family}-{version}"), or_later).map(|id| id.name.to_owned());
    }
    let known = match base {
        "Expat" => "MIT",
        "Apache-2" => "Apache-2.0",
        "MPL-2" => "MPL-2.0",
        "zlib" => "Zlib",
        "BSD-2-clause" => "BSD-2-Clause",
        "BSD-3-clause" => "BSD-3-Clause",
        "BSD-4-clause" => "BSD-4-Clause",
        _ => return None,
    };
    (!or_later).then(|| known.to_owned())
}

fn is_gnu(family: &str) -> bool {
    matches!(family, "GPL" | "LGPL" | "AGPL" | "GFDL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_expressions_are_told_apart_from_other_texts() {
        let id = |text: &str| Licence::Id(text.to_owned());
        assert_eq!(Licence::of("MIT"), id("MIT"));
        assert_eq!(Licence::of("GPL-2+"), id("GPL-2.0-or-later"));
        assert_eq!(Licence::of("LGPL-3"), id("LGPL-3.0-only"));
        assert_eq!(Licence::of("Expat"), id("MIT"));
        for text in ["(MIT OR Apache-2.0)", "GPL-2.0-or-later WITH Classpath-exception-2.0", "MIT AND GPL-2.0+"] {
            assert_eq!(Licence::of(text), Licence::Expression(text.to_owned()), "{text}");
        }
        for text in ["", "GPLv3+ and MIT", "public-domain", "MIT License", "GPL-99", "mit", "BSD-3-clause+"] {
            assert_eq!(Licence::of(text), Licence::Named(text.to_owned()), "{text}");
        }
    }
}
