//! What somebody may try who writes a Dockerfile, a base, a RUN, or into a cache: and what comes of it.

mod bytes;
