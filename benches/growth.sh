#!/usr/bin/env bash
# Shows how cost grows with size, where a Dockerfile, a checkout or a base can choose the size: `bash benches/growth.sh
# [row ...]`. Ends with 1 when a build of twice the size takes more than 2.2 times the processor time, or one of the rows of bytes
# more memory than MEMORY.
#
# EXECUTOR=<path>   the executor; without it, one is built in the release profile
# RUNS=<n>          builds per size, 3 by default; the least counts
# SCALE=<n>         makes all sizes so many times as large, 1 by default: 10 is up to a million files, and files of 10 GiB
#
# Figures: seconds of processor time, and the largest peak of memory in MiB. Time is the executor's and what it runs; the
# clock on the wall would count what else the machine does.
set -euo pipefail
cd "$(dirname "$0")/.."
# Each row with its smallest size; it is built in that size, twice it and four times it. Depths end at 1,000: from there on the names
# themselves, which each entry of a layer has in full, are what costs. Rows of bytes count MiB.
ROWS="context-files:25000 git-files:10000 base-files:25000 run-files:25000 context-bytes:256 base-bytes:256 run-bytes:256
    copy-depth:250 copy-from-depth:250 unpack-depth:250 snapshot-depth:250 inventory-depth:250
    env:4000 label:25000 arg:10000 copies:500 heredocs:1250 onbuild:25000 stages:500 unneeded-stages:5000 undefined:2500
    ignore-lines:50000 layers:2500"
RUNS=${RUNS:-3}
SCALE=${SCALE:-1}
LIMIT=2.2
MEMORY=128

# shellcheck source=benches/needs.sh
. benches/needs.sh

# Prints what makes up a Dockerfile: `$1` times the line `$2`, with its number for each `@`.
lines() {
    seq "$1" | awk -v line="$2" '{ text = line; gsub(/@/, NR, text); gsub(/\\n/, "\n", text); print text }'
}

# Makes directories in each other, `$1` deep, with a file in each, in `$2`.
chain() {
    path=$2$(printf '/d%.0s' $(seq "$1"))
    mkdir -p "$path"
    seq "$1" | awk -v root="$2" '{ path = path "/d"; print root path "/f" }' | xargs -n 50 touch
}

# Makes `$1` small files, a hundred to a directory, in `$2`.
small_files() {
    seq 0 $((($1 - 1) / 100)) | sed "s,^,$2/d," | xargs mkdir -p
    awk -v files="$1" -v root="$2" 'BEGIN {
        for (i = 0; i < files; i++) { name = root "/d" int(i / 100) "/file-" i; print "file number " i > name; close(name) }
    }'
}

# Makes a file of `$1` MiB that shrinks to about a half, in `$2`.
large_file() {
    head -c 524288 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$WORK/mebibyte"
    for _ in $(seq "$1"); do cat "$WORK/mebibyte"; done >"$2"
}

# Makes the OCI layout `$1` of what the Dockerfile in the context `$2` builds.
image() {
    "$EXECUTOR" --isolation namespace --no-push --state-dir "$WORK/state" --oci-layout-path "$1" -c "$2" >&2 2>"$WORK/log" ||
        { cat "$WORK/log" >&2; exit 1; }
}

# Makes the context of the row `$1` in size `$2` in the directory `$3`.
context() {
    mkdir -p "$3"
    cp /bin/busybox "$3/busybox"
    echo x >"$3/file"
    case $1 in
    context-files | base-files) small_files "$2" "$3/files" ;;
    git-files)
        small_files "$2" "$WORK/checkout/files"
        printf 'FROM scratch\nCOPY files /files\n' >"$WORK/checkout/Dockerfile"
        git -C "$WORK/checkout" init -q
        git -C "$WORK/checkout" add .
        git -C "$WORK/checkout" -c user.name=a -c user.email=a@example.com commit -qm files
        ;;
    context-bytes | base-bytes) large_file "$2" "$3/large" ;;
    *-depth)
        chain "$2" "$3/tree"
        printf 'FROM scratch\nCOPY busybox /bin/busybox\nCOPY tree /tree\n' >"$3/Dockerfile"
        ;;
    esac
    case $1 in
    base-files | base-bytes)
        printf 'FROM scratch\nCOPY busybox /bin/busybox\nCOPY [^b]* /data/\n' >"$3/Dockerfile"
        image "$WORK/base" "$3"
        ;;
    unpack-depth | inventory-depth) image "$WORK/base" "$3" ;;
    esac
    case $1 in
    context-files) printf 'FROM scratch\nCOPY files /files\n' >"$3/Dockerfile" ;;
    context-bytes) printf 'FROM scratch\nCOPY large /large\n' >"$3/Dockerfile" ;;
    base-files | base-bytes) printf 'FROM base\nRUN ["/bin/busybox", "true"]\n' >"$3/Dockerfile" ;;
    run-files)
        small_files "$2" "$3/files"
        tar -C "$3" -cf "$3/all.tar" files
        rm -r "$3/files"
        printf 'FROM scratch\nCOPY busybox /bin/busybox\nRUN --mount=target=/context ["/bin/busybox", "tar", "xf", "/context/all.tar"]\n' \
            >"$3/Dockerfile"
        ;;
    run-bytes)
        printf 'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "dd", "if=/dev/zero", "of=/large", "bs=1M", "count=%d"]\n' \
            "$2" >"$3/Dockerfile"
        ;;
    copy-depth) echo 'COPY tree/d /other/d' >>"$3/Dockerfile" ;;
    copy-from-depth) printf 'FROM scratch\nCOPY --from=0 /tree /copy\n' >>"$3/Dockerfile" ;;
    unpack-depth) printf 'FROM base\nRUN ["/bin/busybox", "true"]\n' >"$3/Dockerfile" ;;
    # One system call of the RUN, and all paths are new: a program that goes from file to file by whole paths would be what
    # is measured.
    snapshot-depth) echo 'RUN ["/bin/busybox", "mv", "/tree", "/other"]' >>"$3/Dockerfile" ;;
    inventory-depth) printf 'FROM base\nCOPY tree /tree\n' >"$3/Dockerfile" ;;
    env) { echo FROM scratch && lines "$2" 'ENV A@=@'; } >"$3/Dockerfile" ;;
    label) { echo FROM scratch && lines "$2" 'LABEL a@=@'; } >"$3/Dockerfile" ;;
    arg) { echo FROM scratch && lines "$2" 'ARG A@=@'; } >"$3/Dockerfile" ;;
    copies) { echo FROM scratch && lines "$2" 'COPY file /f@'; } >"$3/Dockerfile" ;;
    heredocs) { echo FROM scratch && lines "$2" 'COPY <<E /f@\nhello\nE'; } >"$3/Dockerfile" ;;
    onbuild) { echo FROM scratch && lines "$2" 'ONBUILD LABEL a@=@'; } >"$3/Dockerfile" ;;
    stages) { echo FROM scratch AS s1 && seq "$2" | awk '{ print "FROM s" $1 " AS s" $1 + 1 }'; } >"$3/Dockerfile" ;;
    unneeded-stages) { lines "$2" 'FROM scratch AS s@\nLABEL a=@' && echo FROM scratch; } >"$3/Dockerfile" ;;
    undefined) { echo FROM scratch && lines "$2" 'ENV VARIABLE@=$VARIABEL@'; } >"$3/Dockerfile" ;;
    ignore-lines)
        lines "$2" '**/node_*/@*x' >"$3/.dockerignore"
        for number in $(seq 33); do mkdir -p "$3/a/b$number" && echo x >"$3/a/b$number/file"; done
        printf 'FROM scratch\nCOPY a /a\n' >"$3/Dockerfile"
        ;;
    layers) many_layers "$2" "$3" ;;
    esac
}

# Makes a base with `$1` empty layers in the context `$2`.
many_layers() {
    blobs=$WORK/base/blobs/sha256
    mkdir -p "$blobs"
    head -c 1024 /dev/zero >"$WORK/layer"
    digest=$(blob "$WORK/layer")
    {
        printf '{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":['
        lines "$1" "\"sha256:$digest\"" | paste -sd,
        printf ']},"history":['
        lines "$1" '{"created_by":"layer @"}' | paste -sd,
        printf ']}'
    } >"$WORK/config"
    config=$(blob "$WORK/config")
    {
        printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",'
        printf '"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%d},"layers":[' \
            "$config" "$(stat -c %s "$WORK/config")"
        lines "$1" "{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:$digest\",\"size\":1024}" |
            paste -sd,
        printf ']}'
    } >"$WORK/manifest"
    manifest=$(blob "$WORK/manifest")
    echo '{"imageLayoutVersion":"1.0.0"}' >"$WORK/base/oci-layout"
    printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%d,"annotations":{"org.opencontainers.image.ref.name":"latest"}}]}' \
        "$manifest" "$(stat -c %s "$WORK/manifest")" >"$WORK/base/index.json"
    printf 'FROM base\nLABEL a=b\n' >"$2/Dockerfile"
}

# Puts a file into the layout; prints its digest.
blob() {
    digest_of=$(sha256sum "$1" | cut -c 1-64)
    cp "$1" "$blobs/$digest_of"
    echo "$digest_of"
}

# Builds the context `$1` and prints seconds and MiB.
measure() {
    context=$1
    [ ! -d "$WORK/checkout" ] || context=file://$WORK/checkout
    base=()
    [ ! -d "$WORK/base" ] || base=(--build-context "base=oci-layout://$WORK/base")
    for _ in $(seq "$RUNS"); do
        /usr/bin/time -o "$WORK/time" -f '%U %S %M' "$EXECUTOR" --isolation namespace --no-push --state-dir "$WORK/state" \
            "${base[@]}" -c "$context" >/dev/null 2>"$WORK/log" || { tail -5 "$WORK/log" >&2; exit 1; }
        awk '{ printf "%.2f %d\n", $1 + $2, $3 / 1024 }' "$WORK/time"
    done | sort -n | head -1
}

need_executor
for program in /usr/bin/time /bin/busybox; do
    [ -x $program ] || { say "please install what has $program (Debian: time, busybox-static)"; exit 1; }
done
WORK=$(mktemp -d /dev/shm/yadokari-growth.XXXXXX)
trap 'rm -rf "$WORK"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
failed=0
printf '%-18s%10s%10s%8s%10s%10s%8s%10s%10s%8s%8s\n' row size seconds MiB size seconds MiB size seconds MiB growth
for row in $ROWS; do
    name=${row%:*} size=$((${row#*:} * SCALE))
    [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
    printf '%-18s' "$name"
    for factor in 1 2 4; do
        context "$name" $((size * factor)) "$WORK/context"
        figures=$(measure "$WORK/context")
        rm -rf "$WORK/context" "$WORK/base" "$WORK/checkout"
        printf '%10d%10s%8s' $((size * factor)) ${figures}
        before=${seconds-} seconds=${figures% *}
    done
    # Below a twentieth of a second the process itself is what is measured.
    growth=$(awk -v before="$before" -v after="$seconds" 'BEGIN { printf "%.2f", (after < 0.05 ? 1 : after / (before < 0.05 ? 0.05 : before)) }')
    printf '%8s' "$growth"
    if awk -v growth="$growth" -v limit=$LIMIT 'BEGIN { exit !(growth > limit) }'; then
        printf '  more than %s' $LIMIT
        failed=1
    fi
    if [[ $name == *-bytes && ${figures#* } -gt $MEMORY ]]; then
        printf '  more than %s MiB' $MEMORY
        failed=1
    fi
    echo
done
exit $failed
