//! The borders between the rooms.
