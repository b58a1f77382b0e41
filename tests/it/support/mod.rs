//! What every integration test stands on: the executor, real services round it, and images as readable text.
//!
//! Knows how to start things and how to read what came out. Does not know what is right: that is in the
//! modules by capability and in `tests/dockerfiles`. *Invariant: nothing here uses the library under test, so
//! a fault in it cannot hide itself.*

pub(crate) mod attested;
pub(crate) mod bases;
pub(crate) mod case;
pub(crate) mod clouds;
pub(crate) mod executor;
pub(crate) mod flaky;
pub(crate) mod fronts;
pub(crate) mod generate;
pub(crate) mod git;
pub(crate) mod image;
pub(crate) mod isolation;
pub(crate) mod listing;
pub(crate) mod mutate;
pub(crate) mod objects;
pub(crate) mod oracle;
pub(crate) mod pod;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod registry;
pub(crate) mod scratch;
pub(crate) mod scripted;
pub(crate) mod signatures;
pub(crate) mod sigstore;
pub(crate) mod skips;
pub(crate) mod slow;
pub(crate) mod source;
pub(crate) mod steps;
pub(crate) mod terminal;
pub(crate) mod web;
