#!/bin/bash
# Runs as root in a booted systemd: installs Sealwright as its README says, uses it, breaks it, stops it. Each thing that is
# proven is written to /out/passed; the rest of what happens to /out/log.
set -Eeuo pipefail
exec >/out/log 2>&1 </dev/null
set -x
trap 'echo "FAILED at line $LINENO: $BASH_COMMAND"; systemctl status --no-pager --full sealwright' ERR
trap 'journalctl --no-pager --output=short-monotonic --unit=sealwright >/out/journal' EXIT

cd /interop
passed() { echo "$*" >>/out/passed; }
unit() { systemctl show --value --property="$1" sealwright; }
logged() { journalctl --no-pager --output=cat --unit=sealwright --grep="$1" >/dev/null; }
# eventually repeats a command until it succeeds, for at most 30 s.
eventually() {
	local n
	for ((n = 0; n < 300; n++)); do "$@" && return; sleep 0.1; done
	return 1
}
# exits CODE COMMAND demands that exit code: 1 something is unsigned or failed, 2 usage or configuration.
exits() {
	local want=$1 got=0
	shift
	"$@" || got=$?
	((got == want))
}
# covered looks from outside: every image that the policy covers carries a good signature.
covered() { sealwright coverage --policy "$1"; }
fired() { sealwright history --policy "$1" --output json | grep --count '"status": "Succeed"'; }

listening() { (exec 3<>/dev/tcp/127.0.0.1/5000) 2>/dev/null; }
systemd-run --unit=registry --setenv=OTEL_TRACES_EXPORTER=none /usr/bin/registry serve /interop/registry.yaml
eventually listening

mkdir -p /etc/systemd/system/sealwright.service.d
cp interop.conf /etc/systemd/system/sealwright.service.d/
bash -eux install.sh
[[ $(unit ActiveState) == active && $(unit Type) == notify-reload && $(unit NRestarts) == 0 ]]
systemctl is-enabled sealwright
logged '"message":"running"' # systemctl start returned after READY, so it is there
passed install and notify

pid=$(unit MainPID)
grep -E '^(Uid|Cap|NoNewPrivs|Seccomp)' "/proc/$pid/status"
[[ $(awk '$1 == "Uid:" {print ($2 != 0)}' "/proc/$pid/status") == 1 ]]
[[ $(grep -cE '^Cap(Inh|Prm|Eff|Bnd|Amb):.0000000000000000$' "/proc/$pid/status") == 5 ]]
grep -E '^NoNewPrivs:.1$' "/proc/$pid/status"
grep -E '^Seccomp:.2$' "/proc/$pid/status"
[[ $(stat --format=%a /var/lib/private/sealwright) == 700 ]]
[[ $(stat --format=%a /etc/credstore/sealwright.release.key) == 600 ]]
passed hardened

exits 1 covered triggered
sealwright trigger triggered
covered triggered
passed trigger

exits 2 sealwright trigger reloaded
cp reloaded.yaml /etc/sealwright/sealwright.yaml
systemctl reload sealwright
[[ $(unit MainPID) == "$pid" ]]
sealwright trigger reloaded
covered reloaded
passed reload

cp broken.yaml /etc/sealwright/sealwright.yaml
systemctl reload sealwright
logged 'configuration refused, the old one stays'
[[ $(unit ActiveState) == active && $(unit MainPID) == "$pid" ]]
cp reloaded.yaml /etc/sealwright/sealwright.yaml
sealwright trigger reloaded
passed bad configuration refused

# A policy that nobody fired yet: the signal fires all.
exits 1 covered signalled
systemctl kill --signal=USR1 --kill-whom=main sealwright
eventually covered signalled
passed signal

# A daemon that hangs. Its socket stays behind: nobody closed it.
systemctl kill --signal=STOP --kill-whom=main sealwright
restarted() { [[ $(unit NRestarts) == 1 && $(unit ActiveState) == active ]]; }
eventually restarted
logged 'Watchdog timeout'
[[ $(unit MainPID) != "$pid" ]]
pid=$(unit MainPID)
sealwright trigger triggered
passed watchdog

[[ $(fired triggered) == 3 && $(fired reloaded) == 3 && $(fired signalled) == 1 ]]
passed state survives

systemctl stop sealwright
[[ $(unit ActiveState) == inactive && $(unit Result) == success && $(unit ExecMainStatus) == 0 ]]
logged '"message":"stopped"'
[[ ! -e /var/lib/sealwright/control.sock ]]
exits 1 sealwright trigger triggered
[[ $(fired triggered) == 3 ]] # the keys are gone with the service; history needs none
passed stop

systemctl start sealwright
sealwright trigger triggered
[[ $(fired triggered) == 4 ]]
passed start again
