#!/usr/bin/env bash
# Installs Redis and ZooKeeper from the packages of Debian (or Ubuntu), if they are missing. Services of
# the packages are not started: the benchmark starts servers of its own.
set -euo pipefail

missing=()
command -v redis-server > /dev/null || missing+=(redis-server)
[[ -e /usr/share/java/zookeeper.jar ]] || missing+=(zookeeper)
command -v java > /dev/null || missing+=(default-jre-headless)
if [[ ${#missing[@]} -eq 0 ]]; then
	exit 0
fi
echo "to be installed: ${missing[*]}"
if ! command -v apt-get > /dev/null; then
	echo "there is no apt-get: install ${missing[*]} by other means" >&2
	exit 1
fi
as_root=()
[[ $(id -u) -eq 0 ]] || as_root=(sudo)

# While this file says no, packages start nothing. One that is there already is left alone.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
	trap '"${as_root[@]}" rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" > /dev/null
	"${as_root[@]}" chmod +x "$policy"
fi
install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}")
"${install[@]}" || { "${as_root[@]}" apt-get update -q; "${install[@]}"; }
