//! What somebody may try who writes a Dockerfile, a base, a RUN, or into a cache, or answers as a server: and what comes of
//! it.

mod bytes;
mod network;
