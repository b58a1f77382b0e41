//! A scripted server on loopback for tests: it answers each request as a function says.
