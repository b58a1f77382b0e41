//! Images as anybody finds them: what is in one, what is said about it and by whom, and what differs between two.
//!
//! Knows registries, layouts and archives alike; neither builds nor changes anything, and decides nothing about what it
//! finds.
//!
//! *Invariant: what others have written is read within bounds, and what is malformed is an error or is told as such;
//! layers are read once, as streams.*

mod claims;
mod diff;
mod error;
mod image;
mod source;

pub use claims::{Found, Held, SignatureFound, State, StatementFound};
pub use diff::{
    Area, Diff, Difference, FieldDifference, Ignored, LayerDifference, LayerState, Options, PairDiff, diff,
};
pub use error::Error;
pub use image::{ImageFacts, Inspected, Layer, Settings, Side, inspect};
pub use source::Source;
