#!/usr/bin/env bash
# Runs `mediated` isolation on another kernel, in a virtual machine: `bash tests/kernels/run.sh`.
#
# The machine has Debian's own kernel of the release that is asked for, and a small Debian as its root. In it, the executor builds
# as a user without rights, under each `kernel.yama.ptrace_scope` and under an AppArmor profile as container engines give one. It is
# no part of the suite: what it prints is read by whoever runs it.
#
# EXECUTOR=<path>   the executor; without it, one is built in the release profile
# RELEASE=<name>    Debian's release, `bookworm` (Linux 6.1) by default
# ACCEL=<name>      `tcg` (emulation) by default; `kvm` where that is allowed
set -euo pipefail
cd "$(dirname "$0")/../.."
HERE=$PWD/tests/kernels
RELEASE=${RELEASE:-bookworm}
ACCEL=${ACCEL:-tcg}
CACHE=$PWD/target/kernels/$RELEASE
PACKAGES="qemu-system-x86 seabios debootstrap busybox-static cpio gcc libc6-dev"

# shellcheck source=benches/needs.sh
. benches/needs.sh

# Makes the root of the machine and fetches its kernel, once.
make_machine() {
    [ ! -e "$CACHE" ] || return 0
    rm -rf "$CACHE.partial"
    mkdir -p "$CACHE.partial"
    mirror=$(debian_mirror)
    say "making the machine: debootstrap $RELEASE"
    debootstrap --variant=minbase --include=apparmor,apparmor-utils,util-linux "$RELEASE" "$CACHE.partial/root" "$mirror" \
        >"$CACHE.partial/log" || fail "debootstrap from $mirror: see $(tail -1 "$CACHE.partial/log")"
    chroot "$CACHE.partial/root" sh -ec '
        cd /tmp
        apt-get install -qq --download-only --no-install-recommends -y linux-image-cloud-amd64
        dpkg-deb --fsys-tarfile /var/cache/apt/archives/linux-image-6*.deb | tar -x ./boot
        cp boot/vmlinuz-* /vmlinuz
        rm -rf boot /var/cache/apt/archives/*.deb /var/lib/apt/lists/*' >>"$CACHE.partial/log" 2>&1 || fail "the kernel: $(tail -3 "$CACHE.partial/log")"
    mv "$CACHE.partial/root/vmlinuz" "$CACHE.partial/vmlinuz"
    mv "$CACHE.partial" "$CACHE"
}

# Puts what is tried into the root of the machine, and packs it.
pack_machine() {
    tried=$CACHE/root/tried
    rm -rf "$tried"
    mkdir -p "$tried/context/root/bin" "$tried/context/root/etc" "$tried/context/root/tmp"
    cp "$EXECUTOR" "$tried/executor"
    cp "$(command -v busybox)" "$tried/context/root/bin/busybox"
    for applet in $(busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "$tried/context/root/bin/$applet"
    done
    printf 'root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000:user:/:/bin/sh\n' >"$tried/context/root/etc/passwd"
    for program in calls escape sockets; do
        cc -static -O1 -pthread -o "$tried/context/$program" "tests/it/support/$program.c"
    done
    cp "$HERE/Dockerfile" "$tried/context/Dockerfile"
    cp "$HERE/container.apparmor" "$tried/"
    chmod -R a+rX "$tried"
    cp "$HERE/init.sh" "$CACHE/root/init"
    chmod 755 "$CACHE/root/init"
    (cd "$CACHE/root" && find . -xdev -print0 | cpio --quiet -0 -o -H newc) | gzip -1 >"$CACHE/initramfs"
}

need "$PACKAGES" qemu-system-x86_64 debootstrap busybox cpio cc
need_executor
make_machine
pack_machine
exec qemu-system-x86_64 -M pc,accel="$ACCEL" -cpu max -smp 2 -m 3G -nographic -no-reboot -nic none \
    -kernel "$CACHE/vmlinuz" -initrd "$CACHE/initramfs" \
    -append "console=ttyS0 panic=-1 rdinit=/init lsm=landlock,yama,apparmor"
