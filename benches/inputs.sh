# The images and the build contexts that the benchmarks read: made once, from files of this machine, and kept in
# target/benches. Sourced by run.sh, which sets CACHE and WORK and starts registries; needs.sh comes before.
# shellcheck shell=bash disable=SC2154 # CACHE and WORK are run.sh's

BIG_FILES=94000
BIG_BYTES=1400000000

# Makes what is missing. Whatever stands in CACHE/registry is whole: it is renamed into place.
make_inputs() {
    mkdir -p "$CACHE"
    if [ ! -e "$CACHE/registry" ]; then
        mkdir -p "$WORK/inputs"
        base_busybox
        base_debian
        base_big
        rm -rf "$CACHE/registry.partial"
        start_registry "$CACHE/registry.partial"
        for name in busybox debian big; do
            say "pushing the base image $name"
            skopeo copy --quiet --dest-tls-verify=false "oci:$WORK/inputs/$name:1" "docker://$REGISTRY/base/$name:1"
        done
        stop_registry
        mv "$CACHE/registry.partial" "$CACHE/registry"
        rm -rf "$WORK/inputs"
    fi
    for row in one-file app gigabyte three-files many-files two-stages cached; do
        [ -e "$CACHE/$row" ] && continue
        rm -rf "$CACHE/partial"
        mkdir "$CACHE/partial"
        (cd "$CACHE/partial" && "context_${row//-/_}")
        mv "$CACHE/partial" "$CACHE/$row"
    done
}

base_busybox() {
    root=$WORK/inputs/root
    mkdir -p "$root/bin" "$root/tmp" "$root/etc"
    cp "$(command -v busybox)" "$root/bin/busybox"
    for applet in $(busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
    echo 'root:x:0:' >"$root/etc/group"
    layer busybox -C "$root" .
    rm -rf "$root"
    image busybox busybox
}

base_debian() {
    say "making the base image debian: debootstrap"
    root=$WORK/inputs/root
    mirror=$(debian_mirror)
    debootstrap --variant=minbase bookworm "$root" "$mirror" >"$WORK/debootstrap.log" ||
        fail "debootstrap from $mirror: see $(tail -1 "$WORK/debootstrap.log")"
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*.log "$root"/dev/*
    layer debian -C "$root" .
    rm -rf "$root"
    image debian debian
}

# Debian, and seven layers of the small files of /usr, several times if need be, with larger ones to the full size.
base_big() {
    say "making the base image big: $BIG_FILES files, $BIG_BYTES bytes"
    list=$WORK/inputs/list
    find /usr -xdev -type f -size -4096k -not -path '*[[:space:]"\\]*' -printf '%s %P\n' | LC_ALL=C sort -k 2 |
        awk -v files="$BIG_FILES" -v bytes="$BIG_BYTES" -v list="$list" '
            $1 <= 65536 { small[smalls] = $2; size[smalls++] = $1 }
            $1 > 65536 { large[larges] = $2; weight[larges++] = $1 }
            END {
                # 15,000: what debian has, and the directories.
                for (i = 0; i < files - 15000; i++) {
                    print small[i % smalls] > (list "." int(i * 7 / (files - 15000)))
                    sum += size[i % smalls]
                }
                # 120 MB: debian.
                for (chosen = 0; chosen < larges && sum < bytes - 120000000; chosen++) sum += weight[chosen]
                for (i = 0; i < chosen; i++) print large[i] > (list "." int(i * 7 / chosen))
            }'
    for number in 0 1 2 3 4 5 6; do
        # Each directory before what is in it; a file that was listed twice is in another layer, or once.
        awk -F / '{ path = $1; print path; for (i = 2; i <= NF; i++) { path = path "/" $i; print path } }' \
            "$list.$number" | LC_ALL=C sort -u >"$list"
        layer "big-$number" --transform "flags=rh;s,^,opt/$number/," --no-recursion -C /usr --verbatim-files-from -T "$list"
    done
    image big debian big-0 big-1 big-2 big-3 big-4 big-5 big-6
}

# Packs files into the layer `$1`; the rest are arguments of tar.
layer() {
    blob=$WORK/inputs/layer-$1
    shift
    tar --format=gnu --sort=name --numeric-owner --owner=0 --group=0 --mtime=@1700000000 -cf - "$@" |
        tee >(sha256sum | cut -c 1-64 >"$blob.diff") | gzip -6n >"$blob"
    sha256sum "$blob" | cut -c 1-64 >"$blob.digest"
}

# Makes the OCI layout `$1` of the layers that follow.
image() {
    layout=$WORK/inputs/$1
    blobs=$layout/blobs/sha256
    mkdir -p "$blobs"
    shift
    layers='' diffs='' history=''
    for name in "$@"; do
        blob=$WORK/inputs/layer-$name
        digest=$(cat "$blob.digest")
        ln -f "$blob" "$blobs/$digest"
        layers+=",{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"sha256:$digest\",\"size\":$(stat -c %s "$blob")}"
        # The digest of the content is written by another process of the pipe.
        while [ ! -s "$blob.diff" ]; do sleep 0.1; done
        diffs+=",\"sha256:$(cat "$blob.diff")\""
        # buildah keeps no step of a build whose base has layers without a history.
        history+=",{\"created_by\":\"$name\"}"
    done
    config=$(blob "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Env\":[\"PATH=/usr/sbin:/usr/bin:/sbin:/bin\"]},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[${diffs#,}]},\"history\":[${history#,}]}")
    manifest=$(blob "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",$config},\"layers\":[${layers#,}]}")
    echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
    echo "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",$manifest,\"annotations\":{\"org.opencontainers.image.ref.name\":\"1\"}}]}" >"$layout/index.json"
}

# Puts text into the layout; prints its digest and size as JSON members.
blob() {
    digest=$(printf %s "$1" | sha256sum | cut -c 1-64)
    printf %s "$1" >"$blobs/$digest"
    echo "\"digest\":\"sha256:$digest\",\"size\":${#1}"
}

# Writes `$1` files of some kilobytes of text each, a hundred to a directory, below `$2`.
text_files() {
    seq 0 $((($1 - 1) / 100)) | sed "s,^,$2/d," | xargs mkdir -p
    awk -v files="$1" -v root="$2" 'BEGIN {
        seed = 7
        for (i = 0; i < files; i++) {
            name = root "/d" int(i / 100) "/file-" i ".txt"
            seed = (seed * 16807) % 2147483647
            for (line = seed % 60; line >= 0; line--) {
                seed = (seed * 16807) % 2147483647
                printf "%d the quick brown fox %x jumps over file %d\n", line, seed, i > name
            }
            close(name)
        }
    }'
}

context_one_file() {
    echo hello >hello
    printf 'ARG BASE\nFROM $BASE/busybox:1\nCOPY hello /hello\n' >Dockerfile
}

context_app() {
    text_files 2000 app
    cat >Dockerfile <<'DOCKERFILE'
ARG BASE
FROM $BASE/debian:1
COPY app /srv/app
RUN mkdir -p /var/lib/app && echo 1 > /var/lib/app/state
RUN useradd --system --home-dir /srv/app app
RUN find /srv/app -type f | sort | xargs sha256sum > /srv/SUMS
RUN cp -r /usr/share/perl5 /srv/perl5
RUN chown -R app: /srv/app/d0 && rm -r /srv/app/d1
DOCKERFILE
}

context_cached() {
    context_app
    echo one >last
    echo 'COPY last /srv/last' >>Dockerfile
}

context_three_files() {
    for name in one two three; do
        echo "$name" >$name
    done
    printf 'ARG BASE\nFROM $BASE/big:1\nCOPY one two three /srv/\n' >Dockerfile
    # The row of small RUNs has no context of its own.
    printf 'ARG BASE\nFROM $BASE/big:1\n' >Dockerfile.runs
    for number in 0 1 2 3 4 5 6 7 8 9; do
        echo "RUN echo $number > /srv/$number"
    done >>Dockerfile.runs
}

context_gigabyte() {
    text_files 4000 words
    find words -type f | LC_ALL=C sort | xargs cat >all
    head -c 4194304 all >text
    rm -r words all
    cat >Dockerfile <<'DOCKERFILE'
ARG BASE
FROM $BASE/busybox:1
COPY text /text
RUN head -c 536870912 /dev/urandom > /random && \
    for i in $(seq 128); do cat /text; done > /more
DOCKERFILE
}

context_many_files() {
    text_files 50000 files
    printf 'ARG BASE\nFROM $BASE/busybox:1\nCOPY files /srv/files\n' >Dockerfile
}

context_two_stages() {
    cat >Dockerfile <<'DOCKERFILE'
ARG BASE
FROM $BASE/debian:1 AS one
RUN sleep 5 && echo 1 > /one
FROM $BASE/debian:1 AS two
RUN sleep 5 && echo 2 > /two
FROM $BASE/debian:1
COPY --from=one /one /one
COPY --from=two /two /two
DOCKERFILE
}
