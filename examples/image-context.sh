#!/bin/sh
# Makes the context of the Containerfile.
#
# usage: examples/image-context.sh DIRECTORY ARCHITECTURE=BINARY...
# CERTIFICATES names the bundle of trusted certificates, Debian's unless it is set.
set -eu

directory=$1
shift
# All directories are made here: those that COPY makes on the way to a file get the mode of the file.
mkdir -p "$directory/skeleton/kaniko/.docker" "$directory/skeleton/kaniko/ssl/certs" "$directory/skeleton/workspace" "$directory/skeleton/root" \
    "$directory/skeleton/tmp"
# Go's programs (credential helpers) ask /etc/hosts before they ask a server only where this says so, as in kaniko's image.
mkdir -p "$directory/skeleton/etc"
echo 'hosts: files dns' > "$directory/nsswitch.conf"
# The names by which kaniko's images and people call it.
ln -sf executor "$directory/skeleton/kaniko/warmer"
ln -sf executor "$directory/skeleton/kaniko/yadokari"
cp "${CERTIFICATES:-/etc/ssl/certs/ca-certificates.crt}" "$directory/ca-certificates.crt"
for binary; do
    mkdir -p "$directory/${binary%%=*}"
    cp "${binary#*=}" "$directory/${binary%%=*}/executor"
done
