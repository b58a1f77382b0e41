#!/bin/sh
# One build, from variables: what action.yml and vars/yadokariBuild.groovy call.
#
# Each YADOKARI_* variable is a flag of the executor. Those that may be given many times have one value a line; lines that
# are empty do not count.
#   CONTEXT DOCKERFILE TARGET PLATFORMS ISOLATION CACHE CACHE_REPO NO_PUSH
#   DESTINATIONS BUILD_ARGS LABELS SECRETS ARGUMENTS (any other flags, `--flag=value`)
# YADOKARI names the executor, else it is looked for on PATH and in /kaniko.
set -eu

executor=${YADOKARI:-$(command -v yadokari || command -v executor || echo /kaniko/executor)}
set --

one() {
    [ -z "$2" ] || words="$words
$1=$2"
}

many() {
    while IFS= read -r line; do one "$1" "$line"; done <<LINES
$2
LINES
}

words=
one --context "${YADOKARI_CONTEXT:-}"
one --dockerfile "${YADOKARI_DOCKERFILE:-}"
one --target "${YADOKARI_TARGET:-}"
one --custom-platform "${YADOKARI_PLATFORMS:-}"
one --isolation "${YADOKARI_ISOLATION:-}"
one --cache "${YADOKARI_CACHE:-}"
one --cache-repo "${YADOKARI_CACHE_REPO:-}"
one --no-push "${YADOKARI_NO_PUSH:-}"
many --destination "${YADOKARI_DESTINATIONS:-}"
many --build-arg "${YADOKARI_BUILD_ARGS:-}"
many --label "${YADOKARI_LABELS:-}"
many --secret "${YADOKARI_SECRETS:-}"
# Flags as they are.
words="$words
${YADOKARI_ARGUMENTS:-}"
# One argument a line: values with spaces and quotes stay whole, and none is a word of the shell's.
while IFS= read -r word; do
    [ -z "$word" ] || set -- "$@" "$word"
done <<WORDS
$words
WORDS
exec "$executor" "$@"
