#!/bin/sh
# Fills the reference of an image into all files below a directory, in the place of the one that stands for it.
#
# usage: release/fill.sh DIRECTORY IMAGE REPOSITORY VERSION DIGEST    IMAGE is executor, debug or ci
#        release/fill.sh DIRECTORY                                    fails where a file still has one that stands for another
set -eu

directory=$1
zero=0000000000000000000000000000000000000000000000000000000000000000
holder='registry\.example\.com/yadokari/executor:[0-9][0-9.]*'

files() {
    grep -rlE "sha256:$zero" "$directory" || true
}

if [ $# = 1 ]; then
    left=$(files)
    [ -z "$left" ] || { echo "fill: these name no image: $left" >&2; exit 1; }
    exit 0
fi
case $2 in executor) suffix= ;; *) suffix=-$2 ;; esac
case $5 in sha256:$zero) echo "fill: $5 is no digest" >&2; exit 1 ;; sha256:*) ;; *) echo "fill: $5 is no digest" >&2; exit 1 ;; esac
files | while IFS= read -r file; do
    sed -E "s|$holder$suffix@sha256:$zero|$3:$4$suffix@$5|g" "$file" >"$file.filled"
    cat "$file.filled" >"$file"
    rm "$file.filled"
done
