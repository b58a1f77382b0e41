//! The command line: flags and environment in, text and exit codes out.
//!
//! Knows kaniko's flags and ours, every environment variable, how messages look, and which exit code means
//! what; opens the services that a build uses. Does not build anything.
//!
//! The way of a request: [`args::parse`] (as typed) and [`env::Environment::read`] → [`request::resolve`]
//! (complete and valid). The way back: events and the end of the build → [`report::Report`].
//!
//! *Invariant: nothing below this room reads the environment, the working directory or the clock; no
//! secret (build argument, password in a URL) is ever printed.*

mod advice;
pub mod args;
mod auth;
mod cache;
mod check;
pub mod commands;
mod confidential;
mod diff;
pub mod doctor;
pub mod env;
pub mod exit;
mod failure;
mod index;
mod inspect;
mod login;
mod named;
pub mod observe;
mod pin;
mod plan;
mod preview;
mod progress_file;
mod push;
pub mod report;
pub mod request;
mod run_services;
pub mod services;
mod shown;
mod sign;
pub mod signals;
mod signing;
pub mod state;
mod taken;
mod telemetry;
mod termination;
mod verify;
mod version;
mod warm;
pub mod work;
