//! The integration tests: each runs the built executor against real services, one module for each capability.
//!
//! `tests/run.sh` installs what they need and shows what was skipped.
// Only what is marked `cfg(test)` counts as test code for clippy's `allow-unwrap-in-tests`.
#![cfg(test)]

mod add;
mod attacks;
mod cache;
mod cache_commands;
mod cache_damage;
mod cache_faults;
mod cache_inputs;
mod cache_mounts;
mod cache_wrong_hits;
mod check;
mod check_rules;
mod command_line;
mod commands;
mod context_archive;
mod context_bucket;
mod context_credentials;
mod context_dockerfile;
mod context_forms;
mod context_git;
mod context_https;
mod context_named;
mod copied_again;
mod copied_devices;
mod corpus;
mod corpus_cache;
mod credentials;
mod credentials_clouds;
mod debian;
mod differential;
mod differential_cache;
mod errors;
mod exit_codes;
mod faults;
mod flags;
mod hostile;
mod interrupted;
mod killed;
mod nospace;
mod odd_bases;
mod outputs;
mod parallel;
mod pipelines_files;
mod pipelines_images;
mod pipelines_index;
mod pipelines_killed;
mod pipelines_platforms;
mod pipelines_results;
mod pod;
mod pod_volumes;
mod push;
mod readback;
mod registries_conf;
mod registry_variants;
mod reproducible;
mod results;
mod run_mounts;
mod run_ports;
mod secrets;
mod support;
mod transport;
mod twice;
mod warmer;
