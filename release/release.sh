#!/usr/bin/env bash
# Makes a release, on any machine: what the hosted workflow (.github/workflows/release.yml) calls, too.
#
#   release/release.sh build ARCHITECTURE         the static binary, into $OUTPUT/bin
#   release/release.sh images ARCHITECTURE        the images of one platform, pushed as TAG-ARCHITECTURE. A machine of that
#                                                 platform is needed where IMAGES has debug or ci: those RUN something
#   release/release.sh assemble ARCHITECTURE...   joins the images, fills their digests into the files, and makes archives,
#                                                 packages, the formula, the notes and the checksums in $OUTPUT/files
#
# OUTPUT       where everything goes (dist)
# REPOSITORY   where the images go, `registry/repository`
# IMAGES       which ones: executor debug ci
# YADOKARI     the executor that builds and pushes (that of OUTPUT for this machine)
# ARGUMENTS    more flags for each of its calls, for example --insecure-registry=…
# BUILD_ARGUMENTS   more flags for the builds alone
# DOWNLOADS    where the files of a version will be, for the formula
#
# What signs, attests and lists contents does not exist yet; its place is between the images' digests and the archives.
set -euo pipefail
cd "$(dirname "$0")/.."

OUTPUT=${OUTPUT:-dist}
IMAGES=${IMAGES:-executor debug ci}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
DOWNLOADS=${DOWNLOADS:-https://github.com/yadokari-build/yadokari/releases/download/v$version}
# The same commit gives the same files.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
mkdir -p "$OUTPUT/bin" "$OUTPUT/files"
OUTPUT=$(cd "$OUTPUT" && pwd)

die() {
    echo "release: $*" >&2
    exit 1
}

own_architecture() {
    case $(uname -m) in
        x86_64) echo amd64 ;;
        aarch64) echo arm64 ;;
        *) die "there are no releases for $(uname -m)" ;;
    esac
}

target() {
    case $1 in
        amd64) echo x86_64-unknown-linux-gnu ;;
        # On another machine: rustup target add, and CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
        arm64) echo aarch64-unknown-linux-gnu ;;
        *) die "there are no releases for $1" ;;
    esac
}

build() {
    local target directory
    target=$(target "$1")
    # Neither the checkout's place nor the home directory is to be found in the binary.
    directory=$(pwd)
    CARGO_ENCODED_RUSTFLAGS=$(printf '%s\037' -C target-feature=+crt-static --cfg 'getrandom_backend="linux_raw"' \
        --remap-path-prefix="$directory=/yadokari" --remap-path-prefix="${CARGO_HOME:-$HOME/.cargo}=/cargo") \
        CFLAGS="${CFLAGS:-} -ffile-prefix-map=$directory=/yadokari -ffile-prefix-map=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
        YADOKARI_COMMIT=${YADOKARI_COMMIT:-$(git rev-parse HEAD 2>/dev/null || true)} \
        bash -c 'CARGO_ENCODED_RUSTFLAGS=${CARGO_ENCODED_RUSTFLAGS%?} exec cargo build --locked --profile dist --target "$1"' \
        build "$target"
    cp "${CARGO_TARGET_DIR:-target}/$target/dist/yadokari" "$OUTPUT/bin/yadokari-$1"
}

executor() {
    # shellcheck disable=SC2086 # flags are words
    "${YADOKARI:-$OUTPUT/bin/yadokari-$(own_architecture)}" "$@" ${ARGUMENTS:-}
}

tag() {
    if [ "$1" = executor ]; then echo "$version"; else echo "$version-$1"; fi
}

images() {
    local context image
    : "${REPOSITORY:?where the images go}"
    context=$(mktemp -d)
    # shellcheck disable=SC2064 # it is known now
    trap "rm -rf '$context'" EXIT
    sh examples/image-context.sh "$context" "$1=$OUTPUT/bin/yadokari-$1"
    for image in $IMAGES; do
        # shellcheck disable=SC2086 # flags are words
        executor --context "$context" --dockerfile Containerfile --target "$image" --custom-platform "linux/$1" \
            --reproducible --label "org.opencontainers.image.version=$version" \
            --destination "$REPOSITORY:$(tag "$image")-$1" ${BUILD_ARGUMENTS:-}
    done
}

# Joins the images of all platforms; leaves their digests in $OUTPUT/digest-IMAGE.
join() {
    local image architecture parts
    : "${REPOSITORY:?where the images go}"
    for image in $IMAGES; do
        parts=()
        for architecture; do parts+=("$REPOSITORY:$(tag "$image")-$architecture"); done
        executor index --destination "$REPOSITORY:$(tag "$image")" --digest-file "$OUTPUT/digest-$image" "${parts[@]}"
    done
}

# The files of a release, all but the binary, with the digests of this release.
tree() {
    local directory=$1 image
    mkdir -p "$directory/share"
    cp -r tekton argo shipwright cloudbuild deploy examples templates vars resources docs action.yml LICENSE NOTICE CHANGELOG.md "$directory"
    cp release/README.md "$directory/README.md"
    for image in $IMAGES; do
        sh release/fill.sh "$directory" "$image" "$REPOSITORY" "$version" "$(cat "$OUTPUT/digest-$image")"
    done
    sh release/fill.sh "$directory"
}

packed() {
    tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -C "$(dirname "$1")" -cf - "$(basename "$1")" | gzip -n
}

# A package for Debian and what is like it; the binary is static and needs nothing.
package() {
    local architecture=$1 directory=$2 root=$3
    mkdir -p "$root/DEBIAN" "$root/usr/bin" "$root/usr/share/doc/yadokari" "$root/usr/share/man/man1" \
        "$root/usr/share/bash-completion/completions" "$root/usr/share/zsh/vendor-completions"
    install -m 755 "$directory/bin/yadokari" "$root/usr/bin/yadokari"
    install -m 644 "$directory/share/man/"*.1 "$root/usr/share/man/man1/"
    gzip -9n "$root/usr/share/man/man1/"*.1
    install -m 644 "$directory/share/completions/yadokari.bash" "$root/usr/share/bash-completion/completions/yadokari"
    install -m 644 "$directory/share/completions/_yadokari" "$root/usr/share/zsh/vendor-completions/_yadokari"
    install -m 644 LICENSE "$root/usr/share/doc/yadokari/copyright"
    install -m 644 NOTICE "$root/usr/share/doc/yadokari/NOTICE"
    cat >"$root/DEBIAN/control" <<CONTROL
Package: yadokari
Version: $version
Architecture: $architecture
Maintainer: The Yadokari authors <noreply@yadokari.invalid>
Section: devel
Priority: optional
Homepage: https://github.com/yadokari-build/yadokari
Recommends: ca-certificates
Description: builds container images as a step of a pipeline
 Builds images from Dockerfiles in an ordinary unprivileged container, without
 a daemon, and pushes them. Takes kaniko's flags.
CONTROL
    dpkg-deb -Zgzip --root-owner-group --build "$root" "$OUTPUT/files/yadokari_${version}_$architecture.deb" >/dev/null
}

archive() {
    local architecture=$1 scratch=$2 directory name=yadokari-$version-linux-$1
    directory=$scratch/$name
    tree "$directory"
    mkdir -p "$directory/bin" "$directory/share/completions"
    install -m 755 "$OUTPUT/bin/yadokari-$architecture" "$directory/bin/yadokari"
    executor_words man "$directory/share/man"
    executor_words completion bash >"$directory/share/completions/yadokari.bash"
    executor_words completion zsh >"$directory/share/completions/_yadokari"
    executor_words completion fish >"$directory/share/completions/yadokari.fish"
    packed "$directory" >"$OUTPUT/files/$name.tar.gz"
    if command -v dpkg-deb >/dev/null; then package "$architecture" "$directory" "$scratch/deb-$architecture"; fi
}

# For commands that know nothing of registries.
executor_words() {
    "${YADOKARI:-$OUTPUT/bin/yadokari-$(own_architecture)}" "$@"
}

formula() {
    local architecture file
    cat <<RUBY
class Yadokari < Formula
  desc "Builds container images from Dockerfiles as a step of a pipeline"
  homepage "https://github.com/yadokari-build/yadokari"
  version "$version"
  license "Apache-2.0"
  depends_on :linux
RUBY
    for architecture; do
        file=yadokari-$version-linux-$architecture.tar.gz
        case $architecture in amd64) echo "  on_intel do" ;; *) echo "  on_arm do" ;; esac
        echo "    url \"$DOWNLOADS/$file\""
        echo "    sha256 \"$(cd "$OUTPUT/files" && sha256sum "$file" | cut -d' ' -f1)\""
        echo "  end"
    done
    cat <<'RUBY'

  def install
    bin.install "bin/yadokari"
    man1.install Dir["share/man/*.1"]
    bash_completion.install "share/completions/yadokari.bash" => "yadokari"
    zsh_completion.install "share/completions/_yadokari"
    fish_completion.install "share/completions/yadokari.fish"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/yadokari version")
  end
end
RUBY
}

assemble() {
    local architecture scratch
    rm -rf "$OUTPUT/files"
    mkdir -p "$OUTPUT/files"
    scratch=$(mktemp -d)
    # shellcheck disable=SC2064 # it is known now
    trap "rm -rf '$scratch'" EXIT
    join "$@"
    for architecture; do archive "$architecture" "$scratch"; done
    formula "$@" >"$OUTPUT/files/yadokari.rb"
    # The part of the changelog between this version's headline and the next one.
    awk -v version="$version" '/^## / { ours = ($2 == version); next } ours' CHANGELOG.md >"$OUTPUT/files/NOTES.md"
    grep -q . "$OUTPUT/files/NOTES.md" || die "CHANGELOG.md says nothing of $version"
    cp release/install.sh "$OUTPUT/files/install.sh"
    (cd "$OUTPUT/files" && sha256sum -- * >SHA256SUMS)
    echo "release: $version is in $OUTPUT/files"
}

[ $# -ge 2 ] || die "build|images ARCHITECTURE, or assemble ARCHITECTURE..."
command=$1
shift
case $command in
    build | images | assemble) "$command" "$@" ;;
    *) die "there is no step $command" ;;
esac
