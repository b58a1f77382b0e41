#!/bin/sh
# Installs the executor on Linux: fetches the archive of a version, compares it with the list of checksums, and installs the
# binary. Nothing is installed where the checksum differs.
#
#   curl -fsSL https://github.com/yadokari-build/yadokari/releases/latest/download/install.sh | sh
#
# YADOKARI_VERSION     which version (the latest)
# YADOKARI_DOWNLOADS   where releases are, for mirrors: the address of the directory that has the version's files
# YADOKARI_PUBLIC_KEY  a file with the public key of releases: the list of checksums must be signed with it, too (needs openssl)
# PREFIX               where it goes: $PREFIX/bin (/usr/local)
set -eu

releases=https://github.com/yadokari-build/yadokari/releases

main() {
    case $(uname -s)/$(uname -m) in
        Linux/x86_64) architecture=amd64 ;;
        Linux/aarch64) architecture=arm64 ;;
        *) die "there is no binary for $(uname -s) on $(uname -m)" ;;
    esac
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    trap 'exit 130' INT TERM
    if [ -n "${YADOKARI_DOWNLOADS:-}" ]; then
        from=${YADOKARI_DOWNLOADS%/}
    elif [ -n "${YADOKARI_VERSION:-}" ]; then
        from=$releases/download/v${YADOKARI_VERSION#v}
    else
        from=$releases/latest/download
    fi
    fetch "$from/SHA256SUMS" "$scratch/SHA256SUMS"
    if [ -n "${YADOKARI_PUBLIC_KEY:-}" ]; then
        fetch "$from/SHA256SUMS.sig" "$scratch/encoded"
        base64 -d "$scratch/encoded" >"$scratch/signature" 2>/dev/null || die "$from/SHA256SUMS.sig is no signature"
        openssl dgst -sha256 -verify "$YADOKARI_PUBLIC_KEY" -signature "$scratch/signature" "$scratch/SHA256SUMS" >/dev/null 2>&1 ||
            die "SHA256SUMS is not signed with $YADOKARI_PUBLIC_KEY: nothing was installed"
    fi
    archive=$(sed -n "s/^[0-9a-f]*  \(yadokari-.*-linux-$architecture\.tar\.gz\)\$/\1/p" "$scratch/SHA256SUMS" | head -n 1)
    [ -n "$archive" ] || die "$from/SHA256SUMS lists no archive for $architecture"
    fetch "$from/$archive" "$scratch/$archive"
    grep "  $archive\$" "$scratch/SHA256SUMS" >"$scratch/sum"
    (cd "$scratch" && sha256sum -c sum >/dev/null 2>&1) || die "$archive is not what SHA256SUMS says: nothing was installed"
    tar -xzf "$scratch/$archive" -C "$scratch"
    prefix=${PREFIX:-/usr/local}
    mkdir -p "$prefix/bin" || die "cannot write $prefix: set PREFIX, or run this as root"
    # A program that runs cannot be written to, but another one can take its name.
    cp "$scratch/${archive%.tar.gz}/bin/yadokari" "$prefix/bin/.yadokari.new" || die "cannot write $prefix/bin"
    chmod 755 "$prefix/bin/.yadokari.new"
    mv "$prefix/bin/.yadokari.new" "$prefix/bin/yadokari"
    echo "installed $("$prefix/bin/yadokari" version) as $prefix/bin/yadokari"
}

fetch() {
    if command -v curl >/dev/null; then
        curl -fsSL --retry 3 -o "$2" "$1" || die "cannot fetch $1"
    else
        wget -q -O "$2" "$1" || die "cannot fetch $1"
    fi
}

die() {
    echo "install: $*" >&2
    exit 1
}

# All of it is read before anything is done.
main
