#!/usr/bin/env bash
# Makes a release, on any machine: what the hosted workflow (.github/workflows/release.yml) calls, too.
#
#   release/release.sh build ARCHITECTURE         the static binary, into $OUTPUT/bin; with `cargo auditable`, so that the
#                                                 binary has the list of its crates
#   release/release.sh images ARCHITECTURE        the images of one platform, pushed as TAG-ARCHITECTURE, with their SBOMs and
#                                                 provenance. A machine of that platform is needed where IMAGES has debug or
#                                                 ci: those RUN something
#   release/release.sh assemble ARCHITECTURE...   joins the images, fills their digests into the files, and makes archives,
#                                                 packages, Tekton's bundle, the formula, the notes and the checksums in
#                                                 $OUTPUT/files
#
# OUTPUT       where everything goes (dist)
# REPOSITORY   where the images go, `registry/repository`
# BUNDLE       where Tekton's bundle goes, `registry/repository` (the repository `tekton` beside the images)
# IMAGES       which ones: executor debug ci
# SIGN         what signs images, what is said of them, and checksums: a private key in a PEM file, whose password is that of
#              COSIGN_PASSWORD; or `keyless`, which leaves the checksums unsigned. Without it, nothing is signed
# YADOKARI     the executor that builds and pushes (that of OUTPUT for this machine)
# ARGUMENTS    more flags for each of its calls, for example --insecure-registry=…
# BUILD_ARGUMENTS   more flags for the builds alone
# DOWNLOADS    where the files of a version will be, for the formula
set -euo pipefail
cd "$(dirname "$0")/.."

OUTPUT=${OUTPUT:-dist}
IMAGES=${IMAGES:-executor debug ci}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
HOME_PAGE=https://github.com/yadokari-build/yadokari
RAW=https://raw.githubusercontent.com/yadokari-build/yadokari
DOWNLOADS=${DOWNLOADS:-$HOME_PAGE/releases/download/v$version}
# The same commit gives the same files.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
mkdir -p "$OUTPUT/bin" "$OUTPUT/sbom" "$OUTPUT/files"
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

# The name that compilers have for an architecture.
machine() {
    case $1 in
        amd64) echo x86_64 ;;
        arm64) echo aarch64 ;;
        *) die "there are no releases for $1" ;;
    esac
}

# Fails where this machine cannot compile for an architecture, and says what is missing; else names the cross linker.
toolchain() {
    local target=$1-unknown-linux-gnu linker=$1-linux-gnu-gcc variable
    [ -d "$(rustc --print target-libdir --target "$target")" ] ||
        die "this Rust has no library for $target: rustup target add $target, or build on a machine of that architecture"
    [ "$1" != "$(uname -m)" ] || return 0
    variable=CARGO_TARGET_$(echo "$target" | tr 'a-z-' 'A-Z_')_LINKER
    command -v "${!variable:-$linker}" >/dev/null ||
        die "there is no ${!variable:-$linker}: apt-get install gcc-${1//_/-}-linux-gnu libc6-dev-$2-cross, or name another in $variable"
    export "$variable=${!variable:-$linker}"
}

build() {
    local machine target directory
    machine=$(machine "$1")
    target=$machine-unknown-linux-gnu
    toolchain "$machine" "$1"
    command -v cargo-auditable >/dev/null || die "there is no cargo-auditable: cargo install --locked cargo-auditable"
    # Neither the checkout's place nor the home directory is to be found in the binary.
    directory=$(pwd)
    CARGO_ENCODED_RUSTFLAGS=$(printf '%s\037' -C target-feature=+crt-static --cfg 'getrandom_backend="linux_raw"' \
        --remap-path-prefix="$directory=/yadokari" --remap-path-prefix="${CARGO_HOME:-$HOME/.cargo}=/cargo") \
        CFLAGS="${CFLAGS:-} -ffile-prefix-map=$directory=/yadokari -ffile-prefix-map=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
        YADOKARI_COMMIT=${YADOKARI_COMMIT:-$(git rev-parse HEAD 2>/dev/null || true)} \
        bash -c 'CARGO_ENCODED_RUSTFLAGS=${CARGO_ENCODED_RUSTFLAGS%?} exec cargo auditable build --locked --profile dist --target "$1"' \
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
            --sbom spdx --sbom-path "$OUTPUT/sbom/$image-$1.spdx.json" --provenance max "${signing[@]}" \
            --destination "$REPOSITORY:$(tag "$image")-$1" ${BUILD_ARGUMENTS:-}
    done
}

# Joins the images of all platforms, and says in the indexes what Artifact Hub lists; leaves their digests in
# $OUTPUT/digest-IMAGE.
join() {
    local image architecture parts
    for image in $IMAGES; do
        parts=()
        for architecture; do parts+=("$REPOSITORY:$(tag "$image")-$architecture"); done
        executor index --destination "$REPOSITORY:$(tag "$image")" --digest-file "$OUTPUT/digest-$image" \
            --annotation "org.opencontainers.image.created=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" \
            --annotation "org.opencontainers.image.title=Yadokari ($image)" \
            --annotation "org.opencontainers.image.description=Builds container images from Dockerfiles as a step of a pipeline" \
            --annotation "org.opencontainers.image.version=$version" \
            --annotation "org.opencontainers.image.licenses=Apache-2.0" \
            --annotation "org.opencontainers.image.source=$HOME_PAGE" \
            --annotation "io.artifacthub.package.readme-url=$RAW/v$version/docs/images.md" \
            --annotation "io.artifacthub.package.license=Apache-2.0" \
            --annotation "io.artifacthub.package.category=integration-delivery" \
            --annotation "io.artifacthub.package.keywords=dockerfile,image-build,rootless,tekton,argo-workflows,kaniko" \
            "${parts[@]}"
        sign "$REPOSITORY" "$(tag "$image")" "$OUTPUT/digest-$image"
    done
}

# Signs what a tag leads to, and notes it as an image of this release.
sign() {
    [ ${#signing[@]} = 0 ] || executor sign "$1@$(cat "$3")" "${signing[@]}"
    echo "$1:$2@$(cat "$3")" >>"$OUTPUT/files/images.txt"
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

# Tasks, StepAction and Pipeline as one image, for Tekton's bundle resolver.
bundle() {
    local tree=$1 layout=$2 repository=${BUNDLE:-${REPOSITORY%/*}/tekton} files
    mapfile -t files < <(find "$tree"/tekton/{task,stepaction,pipeline} -mindepth 3 -maxdepth 3 -name '*.yaml' | sort)
    sh release/bundle.sh "$layout" "${files[@]}"
    executor push "$layout" --destination "$repository:$version" --digest-file "$OUTPUT/digest-tekton"
    sign "$repository" "$version" "$OUTPUT/digest-tekton"
}

packed() {
    tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -C "$(dirname "$1")" -cf - "$(basename "$1")" | gzip -n
}

# What packages install, below a root; the binary is static and needs nothing.
installed() {
    local directory=$1 root=$2 zsh=$3
    mkdir -p "$root/usr/bin" "$root/usr/share/doc/yadokari" "$root/usr/share/man/man1" "$root/usr/share/zsh/$zsh" \
        "$root/usr/share/bash-completion/completions" "$root/usr/share/fish/vendor_completions.d"
    install -m 755 "$directory/bin/yadokari" "$root/usr/bin/yadokari"
    install -m 644 "$directory/share/man/"*.1 "$root/usr/share/man/man1/"
    gzip -9n "$root/usr/share/man/man1/"*.1
    install -m 644 "$directory/share/completions/yadokari.bash" "$root/usr/share/bash-completion/completions/yadokari"
    install -m 644 "$directory/share/completions/_yadokari" "$root/usr/share/zsh/$zsh/_yadokari"
    install -m 644 "$directory/share/completions/yadokari.fish" "$root/usr/share/fish/vendor_completions.d/yadokari.fish"
    install -m 644 LICENSE "$root/usr/share/doc/yadokari/copyright"
    install -m 644 NOTICE "$root/usr/share/doc/yadokari/NOTICE"
}

# A package for Debian and what is like it.
deb() {
    local architecture=$1 directory=$2 root=$3
    installed "$directory" "$root" vendor-completions
    mkdir -p "$root/DEBIAN"
    cat >"$root/DEBIAN/control" <<CONTROL
Package: yadokari
Version: $version
Architecture: $architecture
Maintainer: The Yadokari authors <noreply@yadokari.invalid>
Section: devel
Priority: optional
Homepage: $HOME_PAGE
Recommends: ca-certificates
Description: builds container images as a step of a pipeline
 Builds images from Dockerfiles in an ordinary unprivileged container, without
 a daemon, and pushes them. Takes kaniko's flags.
CONTROL
    dpkg-deb -Zgzip --root-owner-group --build "$root" "$OUTPUT/files/yadokari_${version}_$architecture.deb" >/dev/null
}

# A package for Fedora, RHEL, SUSE and what is like them. The binary stays as it is: rpm's own steps would change it.
rpm_package() {
    local machine directory=$2 place=$3
    machine=$(machine "$1")
    installed "$directory" "$place/root" site-functions
    cat >"$place/yadokari.spec" <<SPEC
Name: yadokari
Version: $version
Release: 1
Summary: Builds container images as a step of a pipeline
License: Apache-2.0
URL: $HOME_PAGE
AutoReqProv: no
Provides: yadokari = $version-1
%define debug_package %{nil}
%define __os_install_post %{nil}
%define _build_id_links none
%define _binary_payload w6.gzdio
%define use_source_date_epoch_as_buildtime 1
%define clamp_mtime_to_source_date_epoch 1
%description
Builds images from Dockerfiles in an ordinary unprivileged container, without
a daemon, and pushes them. Takes kaniko's flags.
%install
cp -r $place/root/. %{buildroot}
%files
%defattr(-,root,root)
/usr/bin/yadokari
%license /usr/share/doc/yadokari/copyright
%doc /usr/share/doc/yadokari/NOTICE
/usr/share/man/man1/*
/usr/share/bash-completion/completions/yadokari
/usr/share/zsh/site-functions/_yadokari
/usr/share/fish/vendor_completions.d/yadokari.fish
SPEC
    rpmbuild -bb --quiet --target "$machine" --define "_topdir $place/build" --define "_buildhost localhost" "$place/yadokari.spec" \
        >"$place/log" 2>&1 || die "rpmbuild: $(cat "$place/log")"
    cp "$place/build/RPMS/$machine/yadokari-$version-1.$machine.rpm" "$OUTPUT/files/"
}

# The archive and the packages of one architecture.
archive() {
    local architecture=$1 scratch=$2 directory name=yadokari-$version-linux-$1
    directory=$scratch/$name
    cp -r "$scratch/tree" "$directory"
    mkdir -p "$directory/bin" "$directory/share/completions"
    install -m 755 "$OUTPUT/bin/yadokari-$architecture" "$directory/bin/yadokari"
    executor_words man "$directory/share/man"
    executor_words completion bash >"$directory/share/completions/yadokari.bash"
    executor_words completion zsh >"$directory/share/completions/_yadokari"
    executor_words completion fish >"$directory/share/completions/yadokari.fish"
    packed "$directory" >"$OUTPUT/files/$name.tar.gz"
    # What the image has is the binary and the bundle of certificates.
    cp "$OUTPUT/sbom/executor-$architecture.spdx.json" "$OUTPUT/files/$name.spdx.json"
    mkdir "$scratch/deb-$architecture" "$scratch/rpm-$architecture"
    if command -v dpkg-deb >/dev/null; then deb "$architecture" "$directory" "$scratch/deb-$architecture"; fi
    if command -v rpmbuild >/dev/null; then rpm_package "$architecture" "$directory" "$scratch/rpm-$architecture"; fi
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
  homepage "$HOME_PAGE"
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

# The list of checksums, and its signature in the form of `openssl dgst` and `cosign verify-blob`.
checksums() {
    cd "$OUTPUT/files"
    case ${SIGN:-keyless} in
        keyless) sha256sum -- * >SHA256SUMS ;;
        *)
            openssl pkey -in "$SIGN" -passin env:COSIGN_PASSWORD -pubout -out yadokari.pub
            sha256sum -- * >SHA256SUMS
            openssl dgst -sha256 -sign "$SIGN" -passin env:COSIGN_PASSWORD SHA256SUMS | base64 -w 0 >SHA256SUMS.sig
            ;;
    esac
}

assemble() {
    local architecture scratch
    : "${REPOSITORY:?where the images go}"
    rm -rf "$OUTPUT/files"
    mkdir -p "$OUTPUT/files"
    scratch=$(mktemp -d)
    # shellcheck disable=SC2064 # it is known now
    trap "rm -rf '$scratch'" EXIT
    join "$@"
    tree "$scratch/tree"
    bundle "$scratch/tree" "$scratch/bundle"
    for architecture; do archive "$architecture" "$scratch"; done
    formula "$@" >"$OUTPUT/files/yadokari.rb"
    # The part of the changelog between this version's headline and the next one.
    awk -v version="$version" '/^## / { ours = ($2 == version); next } ours' CHANGELOG.md >"$OUTPUT/files/NOTES.md"
    grep -q . "$OUTPUT/files/NOTES.md" || die "CHANGELOG.md says nothing of $version"
    cp release/install.sh "$OUTPUT/files/install.sh"
    (checksums)
    echo "release: $version is in $OUTPUT/files"
}

# Flags that sign, of builds and of `yadokari sign`.
SIGN=${SIGN:-}
export COSIGN_PASSWORD=${COSIGN_PASSWORD:-}
case $SIGN in
    "") signing=() ;;
    keyless) signing=(--sign-keyless) ;;
    *) signing=(--sign-key "$(realpath "$SIGN")") && SIGN=${signing[1]} ;;
esac

[ $# -ge 2 ] || die "build|images ARCHITECTURE, or assemble ARCHITECTURE..."
command=$1
shift
case $command in
    build | images | assemble) "$command" "$@" ;;
    *) die "there is no step $command" ;;
esac
