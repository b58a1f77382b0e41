#!/bin/sh
# Makes a Tekton bundle as an OCI layout: an image whose layers are tar archives of one resource each, with annotations that
# name it (https://tekton.dev/docs/pipelines/tekton-bundle-contracts/). `yadokari push` takes it to a registry.
#
# usage: release/bundle.sh LAYOUT FILE...    each FILE is one Task, StepAction or Pipeline
set -eu

layout=$1
shift
[ $# -le 20 ] || { echo "bundle: Tekton reads at most 20 resources of a bundle, not $#" >&2; exit 1; }
mkdir -p "$layout/blobs/sha256"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Moves a file among the blobs, and prints what describes it, but for the brace at the end.
blob() {
    hex=$(sha256sum "$1" | cut -d' ' -f1)
    printf '{"mediaType":"%s","digest":"sha256:%s","size":%s' "$2" "$hex" "$(wc -c <"$1" | tr -d ' ')"
    mv "$1" "$layout/blobs/sha256/$hex"
}

# Prints the first value of a field that stands at this depth.
field() {
    sed -n "s/^$1: *\"\{0,1\}\([^\" ]*\)\"\{0,1\}\$/\1/p" "$2" | head -n 1
}

layers=
identities=
history=
for file; do
    version=$(field apiVersion "$file")
    kind=$(field kind "$file" | tr '[:upper:]' '[:lower:]')
    name=$(field '  name' "$file")
    [ -n "$version" ] && [ -n "$kind" ] && [ -n "$name" ] || { echo "bundle: $file is no resource" >&2; exit 1; }
    mkdir -p "$scratch/layer"
    cp "$file" "$scratch/layer/$name"
    tar --mtime="@${SOURCE_DATE_EPOCH:-0}" --owner=0 --group=0 --numeric-owner --mode=644 -C "$scratch/layer" -cf "$scratch/tar" "$name"
    rm "$scratch/layer/$name"
    identities="$identities${identities:+,}\"sha256:$(sha256sum "$scratch/tar" | cut -d' ' -f1)\""
    history="$history${history:+,}{\"comment\":\"$kind $name\"}"
    gzip -n "$scratch/tar"
    layers="$layers${layers:+,}$(blob "$scratch/tar.gz" application/vnd.oci.image.layer.v1.tar+gzip)"
    layers="$layers,\"annotations\":{\"dev.tekton.image.apiVersion\":\"$version\",\"dev.tekton.image.kind\":\"$kind\",\"dev.tekton.image.name\":\"$name\"}}"
done
printf '{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[%s]},"history":[%s]}' "$identities" "$history" >"$scratch/config"
config=$(blob "$scratch/config" application/vnd.oci.image.config.v1+json)
manifest=application/vnd.oci.image.manifest.v1+json
printf '{"schemaVersion":2,"mediaType":"%s","config":%s},"layers":[%s]}' "$manifest" "$config" "$layers" >"$scratch/manifest"
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s}]}' "$(blob "$scratch/manifest" $manifest)" \
    >"$layout/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
