# What the programs here need, whatever they measure: words, packages, the executor, an end without leftovers. Sourced; whoever
# sources it says with `set -euo pipefail` that an error ends all. tests/kernels/run.sh sources it, too.
# shellcheck shell=bash

export PATH="$PATH:/usr/sbin:/sbin"

say() { echo "${0##*/}: $*" >&2; }

fail() {
    say "$@"
    exit 1
}

# Installs the packages `$1` where one of the programs that follow is missing; those are names, or paths.
need() {
    packages=$1 missing=
    shift
    for program in "$@"; do
        command -v "$program" >/dev/null || missing=yes
    done
    [ -n "$missing" ] || return 0
    say "installing $packages"
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >&2 ||
        fail "please install these packages: $packages"
}

# Prints where this machine gets Debian's packages.
debian_mirror() { apt-get indextargets --format '$(REPO_URI)' | grep '/debian/*$' | head -1; }

# Sets EXECUTOR, unless it is given, to one that is built in the release profile.
need_executor() {
    [ -z "${EXECUTOR-}" ] || return 0
    cargo build --quiet --release
    EXECUTOR=$PWD/target/x86_64-unknown-linux-gnu/release/yadokari
}

# Fails where one of the rows that follow is not among ROWS.
check_rows() {
    for row in "$@"; do
        case " $ROWS " in *" $row "*) ;; *) fail "no row is called $row; there are: $ROWS" ;; esac
    done
}

# Takes away the mounts below the directory `$1`.
unmount_below() {
    awk -v place="$1/" 'index($2, place) == 1 { print $2 }' /proc/self/mounts | sort -r |
        while read -r mount; do umount -l "$mount" 2>/dev/null || true; done
}
