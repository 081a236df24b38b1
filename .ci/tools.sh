#!/usr/bin/env bash
# Installs the programs of others that our checks run: linters, verifiers, registries, container and init systems.
#
#   .ci/tools.sh TOOL...      prints NAME=/absolute/path on stdout, one line a tool; everything else goes to stderr
#
# NAME is TOOL in capitals, with _ for -: what a shell or env(1) takes. A tool that is there already costs nothing, so
# every check may simply ask for what it runs:
#
#   tools=$(.ci/tools.sh cosign2 rootfs) && eval "$tools" && "$COSIGN2" version
#
# Go programs are built from pinned versions into a cache of their own, never into go.mod; the rest are Debian packages.
set -euo pipefail

usage="usage: ${0##*/} TOOL...
  built with Go:    cosign2 cosign3 notation olareg registry rekor crane golangci-lint govulncheck
  Debian packages:  podman runc buildah systemd-nspawn openssl curl postgres (the directory of initdb and postgres)
                    softhsm (SOFTHSM2, and its module SOFTHSM2_MODULE) opensc (pkcs11-tool)
  from npm:         node-tcr (the directory of Tencent's SDK for Node.js; node and npm are Debian's if there are none)
  from Debian 13:   skopeo rootfs (the directory of a tree with systemd 257, to boot with systemd-nspawn)
cache: \$SEALWRIGHT_TOOLS, else \$XDG_CACHE_HOME/sealwright/tools, else ~/.cache/sealwright/tools"

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
fail() { say "$*"; exit 1; }

(($#)) || { printf '%s\n' "$usage" >&2; exit 2; }

cache=${SEALWRIGHT_TOOLS:-${XDG_CACHE_HOME:-${HOME:?is not set, and neither is SEALWRIGHT_TOOLS}/.cache}/sealwright/tools}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd) # callers change directory: print absolute paths

# Work happens beside its destination, so that the last step is a rename: a run that is cut short leaves nothing that
# looks installed, and two runs at once waste time but never break each other.
scratch=$(mktemp -d "$cache/.tmp.XXXXXXXX")
# --one-file-system: never follow a mount that a killed bootstrap may have left below.
trap 'rm -rf --one-file-system -- "$scratch"' EXIT

found() {
	local name=${1^^}
	printf '%s=%s\n' "${name//-/_}" "$2"
}

# go_tool TOOL PACKAGE VERSION
go_tool() {
	local tool=$1 package=$2 version=$3
	local dir=$cache/$tool-${version#v} name=${package##*/}
	if [[ ! -x $dir/$name ]]; then
		command -v go >/dev/null || fail "$tool: go is not on PATH"
		say "building $package@$version (cosign and registry take minutes the first time)"
		# The second try is for a dropped download: what the first one fetched and compiled is kept, so it costs little.
		go_install "$package@$version" || go_install "$package@$version" || fail "$tool: go install $package@$version failed"
		mkdir -p "$dir"
		mv -f "$scratch/$name" "$dir/$name"
	fi
	found "$tool" "$dir/$name"
}

# go_install runs outside any module and workspace: neither our go.mod nor a caller's -mod flag may choose the versions.
# GOFLAGS is set to go's default because an empty one would let the user's go/env file speak. Without cgo the programs are static:
# no C compiler is needed, and the same file runs inside a scratch image or the rootfs below.
go_install() {
	(cd "$scratch" && GOBIN=$scratch GOWORK=off GOFLAGS=-mod=readonly CGO_ENABLED=0 GOOS='' GOARCH='' go install "$1") >&2
}

# go_built TOOL MODULE VERSION PACKAGE is go_tool for a module whose list of versions a proxy does not give: go install wants
# to see it, a module that requires the version does not.
go_built() {
	local tool=$1 module=$2 version=$3 package=$4
	local dir=$cache/$tool-${version#v} name=${4##*/}
	if [[ ! -f $dir/$name || ! -x $dir/$name ]]; then
		command -v go >/dev/null || fail "$tool: go is not on PATH"
		say "building $package@$version"
		mkdir -p "$scratch/$tool.module"
		(cd "$scratch/$tool.module" && export GOWORK=off GOFLAGS=-mod=mod CGO_ENABLED=0 GOOS='' GOARCH='' &&
			go mod init tool && go mod edit -require="$module@$version" && go build -o "$scratch/$name" "$package") >&2 ||
			fail "$tool: building $package@$version failed"
		mkdir -p "$dir"
		mv -f "$scratch/$name" "$dir/$name"
	fi
	found "$tool" "$dir/$name"
}

# apt_install TOOL PACKAGE...
apt_install() {
	local tool=$1
	shift
	command -v apt-get >/dev/null || fail "$tool: this machine has no apt-get: install it by hand (Debian calls it: $*)"
	[[ $EUID == 0 ]] || fail "$tool: not installed, and installing it needs root: sudo apt-get install -y --no-install-recommends $*"
	say "installing Debian packages: $*"
	# Package lists may be absent or name files that the mirror has replaced since: refresh them only when that shows.
	apt_get install -y --no-install-recommends "$@" && return
	apt_update || fail "$tool: apt-get update failed"
	apt_get install -y --no-install-recommends "$@" || fail "$tool: apt-get install $* failed"
}

# apt_get waits for another apt that holds the lock, and never asks questions.
apt_get() { DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" </dev/null >&2; }

updated=
apt_update() {
	[[ -z $updated ]] || return 0
	apt_get update && updated=yes
}

# apt_tool TOOL COMMAND PACKAGE...
apt_tool() {
	local tool=$1 command=$2 path
	shift 2
	# On Debian only root's PATH has sbin, where runc lives.
	local PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
	command -v "$command" >/dev/null || apt_install "$tool" "$@"
	path=$(command -v "$command") || fail "$tool: $* installed, but there is no $command"
	found "$tool" "$path"
}

# postgres_bin prints the directory that holds initdb and postgres. Debian keeps them off PATH, one directory a version: newest wins.
postgres_bin() {
	local dir
	while read -r dir; do
		[[ -x $dir/initdb && -x $dir/postgres ]] && printf '%s\n' "$dir" && return
	done < <(
		printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV
		# A postgres on PATH is often a link of its own: initdb is beside what it points to.
		command -v postgres >/dev/null && dirname "$(readlink -f "$(command -v postgres)")"
	)
	return 1
}

postgres_tool() {
	local dir conf=/etc/postgresql-common/createcluster.d/sealwright-tools.conf
	if ! dir=$(postgres_bin); then
		# The tests make clusters of their own. The package would also create and start one of the system's:
		# told not to, for this installation only.
		if [[ $EUID == 0 ]]; then
			mkdir -p "${conf%/*}"
			echo 'create_main_cluster = false' >"$conf"
		fi
		(apt_install postgres postgresql) || { rm -f "$conf"; exit 1; }
		rm -f "$conf"
		dir=$(postgres_bin) || fail "postgres: the package postgresql is installed, but no directory has both initdb and postgres"
	fi
	found postgres "$dir"
}

# softhsm_tool also prints SoftHSM's PKCS#11 module, which is a library and on no PATH.
softhsm_tool() {
	local module=/usr/lib/softhsm/libsofthsm2.so
	if [[ ! -e $module ]] || ! command -v softhsm2-util >/dev/null; then apt_install softhsm softhsm2; fi
	[[ -e $module ]] || fail "softhsm: softhsm2 installed, but there is no $module"
	found softhsm2 "$(command -v softhsm2-util)"
	found softhsm2-module "$module"
}

# node_tcr_tool installs Tencent's SDK for Node.js as a lock file pins it, in a directory named after that, where the test
# looks. Nothing that the packages bring is run.
node_tcr_tool() {
	local from dir
	from=$(cd "$(dirname "${BASH_SOURCE[0]}")/../engine/control/tcr/testdata/node" && pwd)
	dir=$cache/node-tcr-$(sha256sum "$from/package-lock.json" | cut -c1-16)
	if ! command -v node >/dev/null || ! command -v npm >/dev/null; then apt_install node-tcr nodejs npm; fi
	if [[ ! -d $dir ]]; then
		say "installing Tencent's SDK for Node.js from npm"
		mkdir "$scratch/node-tcr"
		cp "$from/package.json" "$from/package-lock.json" "$scratch/node-tcr/"
		# The second try is for a dropped download.
		npm_ci "$scratch/node-tcr" || npm_ci "$scratch/node-tcr" || fail "node-tcr: npm ci of $from failed"
		publish node-tcr "$scratch/node-tcr" "$dir"
	fi
	found node-tcr "$dir"
}

npm_ci() { (cd "$1" && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier) </dev/null >&2; }

# debian13 TOOL VARIANT PACKAGES DIRECTORY fills DIRECTORY with PACKAGES (comma-separated) of Debian 13, from Debian's mirror.
# mmdebstrap takes 25 seconds and 120 MB for the rootfs where debootstrap --variant=minbase takes 90 and 240: it leaves apt out.
debian13() {
	local tool=$1 variant=$2 packages=$3 dir=$4
	local mirror=${SEALWRIGHT_DEBIAN_MIRROR:-http://deb.debian.org/debian} keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	[[ $EUID == 0 ]] || fail "$tool: only root can make it: sudo SEALWRIGHT_TOOLS=$cache $0 $tool"
	if ! command -v mmdebstrap >/dev/null || [[ ! -e $keyring ]]; then
		apt_install "$tool" mmdebstrap debian-archive-keyring
	fi
	say "$tool: fetching Debian 13's $packages from $mirror"
	# signed-by, because the machine's own apt may trust other keys than Debian's.
	mmdebstrap --quiet --mode=root --variant="$variant" --include="$packages" \
		trixie "$dir" "deb [signed-by=$keyring] $mirror trixie main" </dev/null >&2 ||
		fail "$tool: mmdebstrap trixie from $mirror failed"
}

# publish TOOL SOURCE DIRECTORY renames. -T: should another run have been faster, it fails instead of moving one tree into the other.
publish() {
	mv -T "$2" "$3" 2>/dev/null || [[ -d $3 ]] || fail "$1: moving its files to $3 failed"
}

# rootfs_tool makes a Debian 13 tree, because the shipped unit is Type=notify-reload, which needs systemd 253 and Debian 12 has 252.
# It is a cache: boot it with systemd-nspawn --volatile=overlay, which keeps every change in memory.
rootfs_tool() {
	local dir=$cache/rootfs-trixie
	if [[ ! -d $dir ]]; then
		debian13 rootfs essential systemd,systemd-sysv,dbus "$scratch/rootfs"
		publish rootfs "$scratch/rootfs" "$dir"
	fi
	found rootfs "$dir"
}

# skopeo_tool takes Debian 13's skopeo on every machine, run by its own loader with its own libraries. Debian 12's refuses every
# sigstore signature, good or bad ("Debian-local change: sigstore disabled"), and the module cannot be had by go install.
skopeo_tool() {
	local dir=$cache/skopeo-trixie
	if [[ ! -x $dir/skopeo ]]; then
		mkdir "$scratch/skopeo"
		debian13 skopeo extract skopeo "$scratch/skopeo/tree"
		cat >"$scratch/skopeo/skopeo" <<-'WRAPPER'
			#!/bin/sh
			tree=$(dirname "$(readlink -f "$0")")/tree
			for loader in "$tree"/usr/lib/*-linux-gnu/ld-linux*.so.*; do
				exec "$loader" --library-path "${loader%/*}" "$tree/usr/bin/skopeo" "$@"
			done
		WRAPPER
		chmod +x "$scratch/skopeo/skopeo"
		"$scratch/skopeo/skopeo" --version >&2 || fail "skopeo: Debian 13's program does not run on this machine"
		publish skopeo "$scratch/skopeo" "$dir"
	fi
	found skopeo "$dir/skopeo"
}

for tool in "$@"; do
	case $tool in
	cosign2) go_tool cosign2 github.com/sigstore/cosign/v2/cmd/cosign v2.6.5 ;;
	cosign3) go_tool cosign3 github.com/sigstore/cosign/v3/cmd/cosign v3.1.3 ;;
	registry) go_tool registry github.com/distribution/distribution/v3/cmd/registry v3.1.2 ;;
	rekor) go_built rekor github.com/sigstore/rekor-tiles/v2 v2.3.0 github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix ;;
	olareg) go_built olareg github.com/olareg/olareg v0.1.2 github.com/olareg/olareg/cmd/olareg ;;
	notation) go_built notation github.com/notaryproject/notation v1.3.2 github.com/notaryproject/notation/cmd/notation ;;
	crane) go_tool crane github.com/google/go-containerregistry/cmd/crane v0.22.1 ;;
	golangci-lint) go_tool golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint v2.12.2 ;;
	govulncheck) go_tool govulncheck golang.org/x/vuln/cmd/govulncheck v1.8.0 ;;
	openssl) apt_tool openssl openssl openssl ;;
	curl) apt_tool curl curl curl ;;
	# runc is named beside podman and buildah because they take crun otherwise, which refuses machines with hybrid cgroups.
	podman | buildah) apt_tool "$tool" "$tool" "$tool" runc ;;
	runc) apt_tool runc runc runc ;;
	systemd-nspawn | systemd-container) apt_tool "$tool" systemd-nspawn systemd-container ;;
	postgres) postgres_tool ;;
	softhsm) softhsm_tool ;;
	node-tcr) node_tcr_tool ;;
	opensc) apt_tool opensc pkcs11-tool opensc ;;
	rootfs) rootfs_tool ;;
	skopeo) skopeo_tool ;;
	*) fail "unknown tool: $tool
$usage" ;;
	esac
done
