#!/usr/bin/env bash
# Compares RUN in isolations in the same pod, in the same run: `bash benches/isolations.sh [row ...]`.
#
# The pod is an ordinary one: root with the default capabilities and the default seccomp profile, all on tmpfs. What is measured is
# the time of RUN alone, as the executor's summary has it; the image is thrown away.
#
# RUNS=<n>            builds per row and isolation, 3 by default; the table has the medians
# ISOLATIONS=<names>  "container mediated" by default
# EXECUTOR=<path>     the executor; without it, one is built in the release profile
#
# The inputs are made once from Debian's mirror and crates.io, and kept in target/benches/isolations.
set -euo pipefail
cd "$(dirname "$0")/.."
ROOT=$PWD
INPUTS=$ROOT/target/benches/isolations
PACKAGES="podman runc busybox-static debootstrap curl tar"
ROWS="packages configure compile make-8 runs files walk archive"
RUNS=${RUNS:-3}
ISOLATIONS=${ISOLATIONS:-container mediated}
INSTALLED="openssh-client dbus sudo cron postgresql-common iputils-ping man-db nginx-light"
SOURCE=https://static.crates.io/crates/tikv-jemalloc-sys/tikv-jemalloc-sys-0.6.0+5.3.0-1-ge13ca993e8ccb9ba9847cc330696e02839f328f7.crate

# shellcheck source=benches/needs.sh
. benches/needs.sh

# Makes what is missing. Whatever stands in INPUTS is whole: it is renamed into place.
make_inputs() {
    [ ! -e "$INPUTS" ] || return 0
    rm -rf "$INPUTS.partial"
    mkdir -p "$INPUTS.partial/context/packages"
    cd "$INPUTS.partial"
    say "making the base image: debootstrap with a compiler"
    mirror=$(debian_mirror)
    debootstrap --variant=minbase --include=gcc,libc6-dev,make,findutils bookworm root "$mirror" >debootstrap.log ||
        fail "debootstrap from $mirror: see $(tail -1 debootstrap.log)"
    say "fetching packages"
    chroot root apt-get install -y -qq --no-install-recommends --download-only $INSTALLED >&2
    mv root/var/cache/apt/archives/*.deb context/packages/
    rm -rf root/dev/* root/var/lib/apt/lists/*
    tar --numeric-owner -C root -cf context/root.tar .
    say "fetching the source that is configured and compiled"
    mkdir crate
    curl -fsS "$SOURCE" | tar -xz --strip-components=1 -C crate
    mv crate/jemalloc context/source
    mv crate/configure/configure context/source/
    rm -rf root crate debootstrap.log
    cd "$ROOT"
    mv "$INPUTS.partial" "$INPUTS"
}

# Prints the Dockerfile of a row.
dockerfile() {
    echo 'FROM scratch'
    echo 'ADD root.tar /'
    echo 'ENV DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin'
    case $1 in
    packages) echo 'RUN --mount=type=bind,source=packages,target=/packages apt-get install -y --no-install-recommends /packages/*.deb' ;;
    configure) printf 'COPY source /source\nWORKDIR /source\nRUN ./configure --with-version=5.3.0-0-g0\n' ;;
    compile) printf 'COPY source /source\nWORKDIR /source\nRUN ./configure --with-version=5.3.0-0-g0\nRUN make build_lib_static\n' ;;
    make-8) printf 'COPY source /source\nWORKDIR /source\nRUN ./configure --with-version=5.3.0-0-g0\nRUN make -j8 build_lib_static\n' ;;
    runs) for number in 0 1 2 3 4 5 6 7 8 9; do echo "RUN echo $number >/srv/$number"; done ;;
    *)
        # shellcheck disable=SC2016 # the shell of RUN
        echo 'RUN for d in $(seq 500); do mkdir -p /files/$d; cd /files/$d; for f in $(seq 100); do echo $f >$f; done; done'
        case $1 in
        walk) echo 'RUN find /files -type f -size -4k | wc -l' ;;
        archive) echo 'RUN tar -cf /archive /files' ;;
        esac
        ;;
    esac
}

in_pods() {
    podman --root "$WORK/podman" --runroot "$WORK/run" --tmpdir "$WORK/tmp" --storage-driver=overlay --runtime=runc \
        --cgroup-manager=cgroupfs --events-backend=none "$@"
}

# Builds what ROW says in the isolation `$1`; adds the seconds of the last RUN to WORK/ROW.<isolation>.
measure() {
    mkdir -p "$WORK/build"
    cp "$EXECUTOR" "$WORK/build/executor"
    dockerfile "$ROW" >"$WORK/build/Dockerfile"
    in_pods run --rm --network=none --ulimit=nofile=4096:4096 --ulimit=nproc=4096:4096 --cap-add=AUDIT_WRITE,MKNOD,NET_RAW --security-opt=seccomp="$PROFILE" \
        -v "$INPUTS/context:/context:ro" -v "$WORK/build:/build" pod /build/executor --isolation "$1" -c /context \
        -f /build/Dockerfile --no-push --metadata-file /build/metadata.json >"$WORK/log" 2>&1 || fail "$1, $ROW: $(tail -30 "$WORK/log")"
    last_run >"$WORK/time"
    cat "$WORK/time" >>"$WORK/$ROW.$1"
    say "$ROW, $1: $(cat "$WORK/time")"
    rm -rf "$WORK/build"
}

# Prints the seconds of the last step of a build, or of all its RUNs for the row `runs`.
last_run() {
    if [ "$ROW" = runs ]; then
        sed -n 's/^\[.*\] done in \([0-9.]*\) s.*/\1/p' "$WORK/log" | awk 'NR > 1 { sum += $1 } END { print sum }'
    else
        # The summary has short steps without a layer, too.
        sed -n 's/^ *\([0-9.]* min \)\?\([0-9.]*\) s  \[.*\] RUN .*/\1 \2/p' "$WORK/log" | tail -1 |
            awk '{ print NF == 3 ? 60 * $1 + $3 : $1 }'
    fi
}

median() {
    sort -n "$WORK/$ROW.$1" | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'
}

table() {
    printf '\n%-12s' "median of $RUNS"
    for isolation in $ISOLATIONS; do printf '%14s' "$isolation"; done
    echo
    for ROW in "$@"; do
        printf '%-12s' "$ROW"
        for isolation in $ISOLATIONS; do
            first=$(median "${ISOLATIONS%% *}")
            awk -v own="$(median "$isolation")" -v first="$first" 'BEGIN { printf "%7.2f s %4.2f", own, own / first }'
        done
        echo
    done
}

# An image with nothing but a place for what is temporary.
make_pod() {
    mkdir -p "$WORK/image/tmp" "$WORK/image/etc" "$WORK/image/bin"
    chmod 1777 "$WORK/image/tmp"
    echo 'root:x:0:0:root:/:/bin/sh' >"$WORK/image/etc/passwd"
    tar -C "$WORK/image" -cf - . | in_pods import -q - pod >/dev/null
}

clean() {
    unmount_below "$WORK"
    rm -rf "$WORK"
}

need "$PACKAGES" podman runc busybox debootstrap curl tar
# shellcheck disable=SC2086 # a list of words
[ $# -gt 0 ] || set -- $ROWS
check_rows "$@"
need_executor
PROFILE=$ROOT/tests/it/support/seccomp.json
WORK=$(mktemp -d /dev/shm/yadokari.XXXXXX)
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
make_inputs
make_pod
for ROW in "$@"; do
    for _ in $(seq "$RUNS"); do
        for isolation in $ISOLATIONS; do
            measure "$isolation"
        done
    done
done
table "$@"
