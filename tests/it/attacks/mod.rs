//! What somebody may try who writes a Dockerfile, a base, a RUN, or into a cache, or answers as a server, or looks at the
//! processes of a machine: and what comes of it.

mod bytes;
mod cache;
mod claims;
mod command_line;
mod container_files;
mod costs;
mod devices;
mod ends;
mod files;
mod hangs;
mod helpers;
mod network;
mod other_processes;
mod results;
mod system_calls;
