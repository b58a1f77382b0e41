//! Builds the loader of `mediated` isolation from its source, as a small program of its own.

#![expect(clippy::disallowed_methods, reason = "cargo tells a build script everything by its environment")]

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=src/sys/loader");
    println!("cargo:rerun-if-changed=build.rs");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    tell_who_we_are(&variable);
    let target = variable("TARGET");
    if !target.starts_with("x86_64-") {
        return;
    }
    let output = PathBuf::from(variable("OUT_DIR")).join("loader");
    let mut command = Command::new(variable("RUSTC"));
    command.args(["--edition=2024", "--crate-type=bin", "--crate-name=loader", "-Copt-level=s", "-Cpanic=abort"]);
    command.args([
        "-Crelocation-model=static",
        "-Ccode-model=large",
        "-Ctarget-feature=+crt-static",
        "-Cstrip=symbols",
    ]);
    command.args(["-Clink-arg=-no-pie", "-Clink-arg=-nostartfiles", "-Clink-arg=-nostdlib", "-Clink-arg=-static"]);
    command.arg("-Clink-arg=-Wl,--build-id=none,--no-eh-frame-hdr,-z,norelro,-T,src/sys/loader/loader.ld");
    command.arg("--target").arg(&target);
    if let Ok(linker) = std::env::var("RUSTC_LINKER") {
        command.arg(format!("-Clinker={linker}"));
    }
    command.arg("-o").arg(&output).arg("src/sys/loader/main.rs");
    let status = command.status().expect("rustc runs");
    assert!(status.success(), "the loader does not compile");
}

/// Tells the binary its commit, target and compiler. The commit is what `YADOKARI_COMMIT` says: whoever builds a release
/// sets it; a commit that was found here would be that of the first build, and not that of the last.
fn tell_who_we_are(variable: &dyn Fn(&str) -> String) {
    println!("cargo:rerun-if-env-changed=YADOKARI_COMMIT");
    let given = Some(variable("YADOKARI_COMMIT")).filter(|commit| !commit.is_empty());
    println!("cargo:rustc-env=YADOKARI_COMMIT={}", given.unwrap_or_else(|| "unknown".to_owned()));
    println!("cargo:rustc-env=YADOKARI_TARGET={}", variable("TARGET"));
    let asked = Command::new(variable("RUSTC")).arg("--version").output().expect("rustc runs");
    println!("cargo:rustc-env=YADOKARI_COMPILER={}", String::from_utf8_lossy(&asked.stdout).trim());
}
