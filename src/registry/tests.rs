//! The client against scripted servers and a real registry.
