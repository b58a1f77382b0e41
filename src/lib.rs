//! Yadokari builds container images from Dockerfiles as a step of a pipeline, in an ordinary container.
//!
//! One flow: request → context → plan → build → image → push → results. The rooms of the house, from the
//! ground up; a room may use any lower floor, never its own or a higher one (`tests/architecture.rs` checks):
//!
//! | floor | rooms |
//! |---|---|
//! | 7 | `cli` |
//! | 6 | `builder`, `inspect` |
//! | 5 | `plan`, `context`, `isolation`, `cache`, `output`, `trust` |
//! | 4 | `rootfs`, `registry`, `signing` |
//! | 3 | `attest`, `image`, `cloud`, `record`, `sbom` |
//! | 2 | `dockerfile`, `request`, `outcome`, `store`, `http` |
//! | 1 | `progress`, `place` |
//! | 0 | `causes`, `oci`, `sys` |
//!
//! `ARCHITECTURE.md` tells the whole.

pub mod causes;
pub mod oci;
pub mod place;
pub mod progress;
pub mod sys;

pub mod dockerfile;
pub mod http;
pub mod outcome;
pub mod request;
pub mod store;

pub mod attest;
pub mod cloud;
pub mod image;
pub mod record;
pub mod sbom;

pub mod registry;
pub mod rootfs;
pub mod signing;

pub mod cache;
pub mod context;
pub mod isolation;
pub mod output;
pub mod plan;
pub mod trust;

pub mod builder;
pub mod inspect;

pub mod cli;
