//! What kaniko has and this version does not: known by name, so that it can be refused by name.

/// A flag of kaniko's executor that is not there yet.
pub(super) struct NotYet {
    /// Its name, without dashes.
    pub(super) name: &'static str,
    /// What it does for kaniko.
    pub(super) purpose: &'static str,
}

/// Flags of kaniko's executor that are not there yet.
///
/// Source: `executor --help` of <https://github.com/osscontainertools/kaniko>, v1.28.3, hidden ones included.
pub(super) const FLAGS: &[NotYet] = &[];
