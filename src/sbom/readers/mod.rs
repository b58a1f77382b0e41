//! The files of package managers, one reader each.

pub(super) mod apk;
pub(super) mod composer;
pub(super) mod copyright;
pub(super) mod dotnet;
pub(super) mod dpkg;
pub(super) mod elf;
pub(super) mod gem;
mod inflate;
pub(super) mod jar;
pub(super) mod locks;
pub(super) mod npm;
pub(super) mod os_release;
pub(super) mod python;
pub(super) mod rpm;
