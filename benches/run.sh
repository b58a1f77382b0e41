#!/usr/bin/env bash
# Compares the executor with buildah, in the same run: `bash benches/run.sh [row ...]`.
#
# Every build is cold: its own state directory or storage, its own copy of the registry, all on tmpfs. The registry
# serves the base images and takes the result into a repository that is not there yet.
#
# RUNS=<n>          builds per row and builder, 3 by default; the table has the medians
# BUILDERS=<names>  "yadokari buildah" by default; attested is the executor that also makes an SBOM and provenance, and
#                   signs: `BUILDERS="yadokari attested" bash benches/run.sh app app-again` says what that costs
# EXECUTOR=<path>   the executor; without it, one is built in the release profile
# The rows *-again build twice with one state directory and a fresh registry: the second build, which knows the base, is
# measured. The rows cached-* build twice, with the cache in a registry: the second build has nothing of the first but
# that registry, and is measured, with nothing changed or with another file for the last COPY.
#
# BUILDAH_FLAGS     more flags for `buildah bud`, such as --layers (by default it makes one layer of a build)
#
# Figures: wall seconds; the largest peak of memory of any process of the builder in MiB (what RUN runs among them);
# bytes of new blobs in the registry. For the rows cached-* also what came from the registry and went to it.
set -euo pipefail
cd "$(dirname "$0")/.."
ROOT=$PWD
CACHE=$ROOT/target/benches
PACKAGES="docker-registry busybox-static skopeo buildah debootstrap time python3 openssl"
ROWS="one-file app app-again small-runs gigabyte three-files three-files-again many-files two-stages cached-nothing cached-last-copy"
RUNS=${RUNS:-3}
BUILDERS=${BUILDERS:-yadokari buildah}
BUILDAH_FLAGS=${BUILDAH_FLAGS:-}
export no_proxy="127.0.0.1,localhost" NO_PROXY="127.0.0.1,localhost"

# shellcheck source=benches/needs.sh
. benches/needs.sh

# Starts a registry with its data in `$1`, on a free port; sets REGISTRY.
start_registry() {
    for _ in 1 2 3 4 5; do
        REGISTRY=127.0.0.1:$((20000 + RANDOM % 10000))
        cat >"$WORK/registry.yml" <<YAML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $1}}
http: {addr: $REGISTRY, secret: benches}
YAML
        docker-registry serve "$WORK/registry.yml" >"$WORK/registry.log" 2>&1 &
        REGISTRY_PROCESS=$!
        for _ in $(seq 100); do
            sleep 0.05
            kill -0 $REGISTRY_PROCESS 2>/dev/null || break
            (exec 3<>"/dev/tcp/${REGISTRY/:/\/}") 2>/dev/null && return
        done
        stop_registry
    done
    fail "docker-registry does not start: $(cat "$WORK/registry.log")"
}

stop_registry() {
    stop_counting
    [ -n "${REGISTRY_PROCESS-}" ] || return 0
    kill "$REGISTRY_PROCESS" 2>/dev/null || true
    wait "$REGISTRY_PROCESS" 2>/dev/null || true
    REGISTRY_PROCESS=
}

# Puts a counter before the registry, on a port that stays the same until the registry stops; sets REGISTRY.
start_counting() {
    UPSTREAM=${UPSTREAM:-${REGISTRY#*:}}
    REGISTRY=127.0.0.1:$((UPSTREAM + 10000))
    python3 benches/count.py "${REGISTRY#*:}" "$UPSTREAM" "$WORK/moved" &
    COUNTER=$!
    for _ in $(seq 100); do
        (exec 3<>"/dev/tcp/${REGISTRY/:/\/}") 2>/dev/null && return
        sleep 0.05
    done
    fail "the counter does not start"
}

stop_counting() {
    [ -n "${COUNTER-}" ] || return 0
    kill "$COUNTER" 2>/dev/null || true
    wait "$COUNTER" 2>/dev/null || true
    COUNTER=
}

# Removes what a build left; storage of buildah has mounts.
clear_build() {
    stop_registry
    clear_builder
    rm -rf "$WORK/build"
}

# Removes what a builder keeps by itself.
clear_builder() {
    unmount_below "$WORK/build"
    [ ! -e "$WORK/build" ] || find "$WORK/build" -mindepth 1 -maxdepth 1 ! -name registry -exec rm -rf {} +
}

clean() {
    clear_build
    rm -rf "$WORK"
}

fresh_registry() {
    stop_registry
    UPSTREAM=
    rm -rf "$WORK/build/registry"
    cp -al "$WORK/registry" "$WORK/build/registry"
    start_registry "$WORK/build/registry"
}

cache_with_yadokari() {
    case $ROW in cached-*) echo "--cache --cache-repo $REGISTRY/cache" ;; esac
}

cache_with_buildah() {
    case $ROW in cached-*) echo "--layers --cache-from $REGISTRY/cache --cache-to $REGISTRY/cache" ;; esac
}

# Does what is not measured before a build that is; leaves nothing of the builder's own.
prepare() {
    case $1-$ROW in
    yadokari-*-again | attested-*-again)
        # The first build leaves what it learned of the base beside its state; nothing else is kept.
        "build_with_$1" >"$WORK/log" 2>&1 || fail "$1, $ROW: $(tail -5 "$WORK/log")"
        fresh_registry
        ;;
    *-cached-*)
        start_counting
        echo one >"$CONTEXT/last"
        "build_with_$1" >"$WORK/log" 2>&1 || fail "$1, $ROW, first: $(tail -5 "$WORK/log")"
        clear_builder
        [ "$ROW" = cached-nothing ] || echo two >"$CONTEXT/last"
        stop_counting
        start_counting
        ;;
    esac
}

build_with_yadokari() {
    # shellcheck disable=SC2046 # a list of words
    "$EXECUTOR" $(cache_with_yadokari) --isolation namespace --insecure --insecure-pull --state-dir "$WORK/build/state" \
        --build-arg "BASE=$REGISTRY/base" -f "$DOCKERFILE" -c "$CONTEXT" -d "$REGISTRY/result:1" "$@"
}

# The same, with all that can be said about the image.
build_with_attested() {
    build_with_yadokari --sbom spdx --provenance min --sign-key "$WORK/release.key"
}

build_with_buildah() {
    storage="--root $WORK/build/root --runroot $WORK/build/run --storage-driver overlay"
    # shellcheck disable=SC2046,SC2086 # lists of words
    buildah $storage bud $BUILDAH_FLAGS $(cache_with_buildah) --isolation chroot --tls-verify=false \
        --build-arg "BASE=$REGISTRY/base" -f "$DOCKERFILE" -t result "$CONTEXT"
    # shellcheck disable=SC2086
    buildah $storage push --tls-verify=false localhost/result "docker://$REGISTRY/result:1"
}

# Builds what ROW, DOCKERFILE and CONTEXT say with the builder `$1`; adds a line of figures to WORK/ROW.<builder>.
measure() {
    clear_build
    mkdir -p "$WORK/build"
    fresh_registry
    prepare "$1"
    export ROW REGISTRY DOCKERFILE CONTEXT
    /usr/bin/time -o "$WORK/time" -f '%e %M' bash -c "set -e; build_with_$1" >"$WORK/log" 2>&1 ||
        fail "$1, $ROW: $(tail -5 "$WORK/log")"
    [ -e "$WORK/build/registry/docker/registry/v2/repositories/result/_manifests/tags/1" ] ||
        fail "$1, $ROW: nothing was pushed"
    stop_counting
    read -r seconds kilobytes <"$WORK/time"
    echo "$seconds $((kilobytes / 1024)) $(new_bytes) $(cat "$WORK/moved" 2>/dev/null)" | tee -a "$WORK/$ROW.$1" |
        sed "s/^/run.sh: $ROW, $1: /" >&2
    clear_build
}

# Prints how many bytes the registry holds that are not of the base images: those are linked, not copied.
new_bytes() {
    find "$WORK/build/registry/docker/registry/v2/blobs" -name data -links 1 -printf '%s\n' |
        awk '{ sum += $1 } END { printf "%d\n", sum }'
}

# Prints the median of column `$2` of the figures of builder `$1`.
median() {
    sort -n -k "$2" "$WORK/$ROW.$1" | awk -v column="$2" '{ value[NR] = $column } END { print value[int((NR + 1) / 2)] }'
}

table() {
    printf '\n%-18s' "median of $RUNS"
    for builder in $BUILDERS; do
        printf '%12s%8s%11s' "$builder" 'MiB' 'pushed'
    done
    case $BUILDERS in
    "yadokari buildah") printf '%9s' faster ;;
    "yadokari attested") printf '%9s' ratio ;;
    esac
    echo
    for ROW in "$@"; do
        printf '%-18s' "$ROW"
        for builder in $BUILDERS; do
            printf '%10s s%8s%8s kB' "$(median "$builder" 1)" "$(median "$builder" 2)" \
                "$(($(median "$builder" 3) / 1000))"
        done
        case $BUILDERS in
        "yadokari buildah" | "yadokari attested")
            awk -v ours="$(median yadokari 1)" -v other="$(median "${BUILDERS#* }" 1)" \
                'BEGIN { printf "%8.2fx", other / ours }'
            ;;
        esac
        echo
        case $ROW in cached-*) table_of_moved ;; esac
    done
}

# Prints what came from the registry and went to it, below the row.
table_of_moved() {
    printf '%-18s' '  from, to'
    for builder in $BUILDERS; do
        printf '%12s kB%13s kB' "$(($(median "$builder" 4) / 1000))" "$(($(median "$builder" 5) / 1000))"
    done
    echo
}

# shellcheck source=benches/inputs.sh
. benches/inputs.sh

need "$PACKAGES" docker-registry busybox skopeo buildah debootstrap python3 openssl /usr/bin/time
# shellcheck disable=SC2086 # a list of words
[ $# -gt 0 ] || set -- $ROWS
for builder in $BUILDERS; do
    case $builder in yadokari | attested | buildah) ;; *) fail "no builder is called $builder" ;; esac
done
check_rows "$@"
need_executor
WORK=$(mktemp -d /dev/shm/yadokari-benches.XXXXXX)
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
export EXECUTOR WORK BUILDAH_FLAGS
export -f build_with_yadokari build_with_attested build_with_buildah cache_with_yadokari cache_with_buildah
make_inputs
openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$WORK/release.key"
cp -a "$CACHE/registry" "$WORK/registry"
for ROW in "$@"; do
    CONTEXT_NAME=$ROW DOCKERFILE_NAME=Dockerfile
    case $ROW in
    small-runs) CONTEXT_NAME=three-files DOCKERFILE_NAME=Dockerfile.runs ;;
    *-again) CONTEXT_NAME=${ROW%-again} ;;
    cached-*) CONTEXT_NAME=cached ;;
    esac
    mkdir -p "$WORK/contexts"
    [ -e "$WORK/contexts/$CONTEXT_NAME" ] || cp -a "$CACHE/$CONTEXT_NAME" "$WORK/contexts/"
    CONTEXT=$WORK/contexts/$CONTEXT_NAME DOCKERFILE=$WORK/contexts/$CONTEXT_NAME/$DOCKERFILE_NAME
    for _ in $(seq "$RUNS"); do
        for builder in $BUILDERS; do
            measure "$builder"
        done
    done
done
table "$@"
