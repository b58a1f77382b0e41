//! The layer cache: from a step's key to its layer. Comes with its own issue; this room holds its place in the floors.
