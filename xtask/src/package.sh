#!/bin/sh
# Run as the first process of a clean root in which nothing of Ferry is: installs, upgrades, removes and purges the packages
# /tmp/ferry.deb and /tmp/newer.deb around a guest that must go on. Ends at the first thing that is not as it should be.
set -eu

say() { echo "package: $*"; }
fail() { say "$*"; cat /tmp/agent.log 2>/dev/null || true; exit 1; }

# What the unit does, without systemd.
start_agent() {
    ferry agent >> /tmp/agent.log 2>&1 &
    agent=$!
    for _ in $(seq 100); do
        if ferry version 2>/dev/null | grep -q '^agent .* on clean'; then return; fi
        sleep 0.1
    done
    fail "the agent does not answer"
}
stop_agent() { kill "$agent"; wait "$agent" || true; }
guest_lives() { kill -0 "$guest" || fail "the guest is gone: $1"; }

say "a clean install"
dpkg -i /tmp/ferry.deb
ferry --version
for file in man/man1/ferry.1.gz man/man1/ferry-migrate.1.gz bash-completion/completions/ferry doc/ferry/operations.md; do
    [ -s "/usr/share/$file" ] || [ -s "/usr/share/$file.gz" ] || fail "$file is not installed"
done
said=$(systemd-analyze verify --man=no /usr/lib/systemd/system/ferry-agent.service /usr/lib/systemd/system/ferry.slice 2>&1)
[ -z "$said" ] || fail "systemd-analyze verify: $said"
ferry agent 2>&1 | grep -q 'missing field `host`' || fail "the configuration as installed asks for a name"

say "a guest"
printf 'host = "clean"\n' >> /etc/ferry/agent.toml.set
cat /etc/ferry/agent.toml >> /etc/ferry/agent.toml.set
mv /etc/ferry/agent.toml.set /etc/ferry/agent.toml
ferry doctor > /tmp/doctor || true
grep -q 'no agent answers' /tmp/doctor || fail "the doctor: $(cat /tmp/doctor)"
cat > /tmp/web1.xml <<'XML'
<domain type='qemu'>
  <name>web1</name>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices/>
</domain>
XML
start_agent
ferry define /tmp/web1.xml
ferry start web1
guest=$(cat /run/ferry/*/qemu.pid)

say "an upgrade"
dpkg -i /tmp/newer.deb
guest_lives "upgrade"
grep -q '^host = "clean"' /etc/ferry/agent.toml || fail "the upgrade replaced the configuration"
stop_agent
guest_lives "stopped agent"
start_agent
ferry list | grep -q 'web1 *running' || fail "the newer agent does not find it: $(ferry list)"
[ "$(cat /run/ferry/*/qemu.pid)" = "$guest" ] || fail "another QEMU after the upgrade"

say "removal"
stop_agent
dpkg -r ferry
guest_lives "removal"
[ -e /var/lib/ferry/domains/web1.xml ] || fail "removal forgot the definition"

say "a purge while the guest runs, and one after it"
dpkg -P ferry
guest_lives "purge"
[ -e /var/lib/ferry/domains/web1.xml ] || fail "a purge forgot the definition of a guest that runs"
kill "$guest"
while kill -0 "$guest" 2>/dev/null; do sleep 0.1; done
dpkg -i /tmp/newer.deb
touch /var/lib/ferry/disk.qcow2
dpkg -P ferry
[ ! -e /var/lib/ferry/domains ] || fail "a purge left definitions"
[ ! -e /etc/ferry ] || fail "a purge left /etc/ferry"
[ -e /var/lib/ferry/disk.qcow2 ] || fail "a purge took a disk"
say "all is as it should be"
