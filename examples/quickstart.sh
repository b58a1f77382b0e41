#!/usr/bin/env bash
# Builds the executor, makes a base image from busybox with it, builds a multi-stage image on that base, pushes both
# to a registry on loopback, and prints what a pipeline would read. Leaves nothing running.
# With YADOKARI=PATH it takes the executor that is there, and compiles nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v docker-registry >/dev/null || missing+=(docker-registry)
[ -x /bin/busybox ] || missing+=(busybox-static)
if [ ${#missing[@]} -gt 0 ]; then
    echo "quickstart: installing ${missing[*]}"
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    if ! { "${as_root[@]}" apt-get update -qq && "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null; then
        echo "quickstart: could not install them; please run: apt-get install ${missing[*]}" >&2
        exit 1
    fi
fi
executor=${YADOKARI:-}
if [ -z "$executor" ]; then
    command -v cargo >/dev/null || { echo "quickstart: cargo is missing; install Rust from https://rustup.rs" >&2; exit 1; }
    echo "quickstart: compiling the executor: 263 crates, about two minutes on two cores, and only this once"
    # What the examples need, in the form that is made soonest.
    cargo build --profile try --no-default-features --locked
    executor=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
    executor=$(find "$executor" -path '*/try/yadokari' -type f | head -n 1)
fi

scratch=$(mktemp -d)
registry=
clean() {
    [ -z "$registry" ] || kill "$registry" 2>/dev/null || true
    rm -rf "$scratch"
}
trap clean EXIT

# A port that is free: the kernel gives one to a socket that asks for none.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])' 2>/dev/null || echo 5123)
cat >"$scratch/registry.yml" <<YAML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $scratch/registry}}
http: {addr: "127.0.0.1:$port"}
YAML
docker-registry serve "$scratch/registry.yml" >"$scratch/registry.log" 2>&1 &
registry=$!
for _ in $(seq 100); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
    kill -0 "$registry" 2>/dev/null || { cat "$scratch/registry.log" >&2; exit 1; }
    sleep 0.05
done

build() {
    "$executor" --insecure-registry "127.0.0.1:$port" --state-dir "$scratch/state" "$@"
}

echo "quickstart: a base image, from files alone"
mkdir "$scratch/base"
cp /bin/busybox "$scratch/base/"
build --context "$scratch/base" --dockerfile examples/quickstart/base.Dockerfile --destination "127.0.0.1:$port/base:1"

echo "quickstart: a multi-stage image on that base"
build --context examples/quickstart --build-arg "BASE=127.0.0.1:$port/base:1" --destination "127.0.0.1:$port/hello:1" \
    --digest-file "$scratch/digest" --image-name-tag-with-digest-file "$scratch/url" --metadata-file "$scratch/metadata.json"

echo
echo "--- what a pipeline reads"
echo "digest file:   $(cat "$scratch/digest")"
echo "URL file:      $(cat "$scratch/url")"
echo "metadata file: $(cat "$scratch/metadata.json")"
