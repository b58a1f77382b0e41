//! Which file of an inventory is meant.

/// Tells two files apart: the names of one file with several hard links have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(super) u32);

/// The root directory's.
pub(super) const ROOT: NodeId = NodeId(0);
