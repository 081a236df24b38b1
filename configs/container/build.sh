#!/bin/sh
# Builds the container image from a static binary: build.sh BINARY IMAGE [BUILD-OPTION...]
#
# ENGINE is podman (default), docker or buildah; CA_CERTIFICATES the bundle that goes into the image.
set -eu
[ $# -ge 2 ] || { echo "usage: ${0##*/} BINARY IMAGE [BUILD-OPTION...]" >&2; exit 2; }
binary=$1 image=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
install -m 0755 "$binary" "$context/sealwright"
# -L in effect: the bundle is often a link.
install -m 0644 "${CA_CERTIFICATES:-/etc/ssl/certs/ca-certificates.crt}" "$context/ca-certificates.crt"
install -d -m 0755 "$context/etc"
install -d -m 0700 "$context/state"
"${ENGINE:-podman}" build "$@" --file "$here/Containerfile" --tag "$image" "$context"
