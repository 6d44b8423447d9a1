#!/bin/sh
# Makes a worker of this server. What fails is tried again for ten minutes; after that the grid has given it up.
set -u
export DEBIAN_FRONTEND=noninteractive
complete() {
  for program in @PROGRAMS@; do
    command -v "$program" >/dev/null || return 1
  done
}
for try in $(seq 120); do
  complete || { apt-get update -q && apt-get install -qy --no-install-recommends @PACKAGES@; } || { sleep 5; continue; }
  curl -fsS --connect-timeout 5 -m 120 -o /usr/local/bin/rgrid.new '@API_URL@/api/v1/binaries/@SHA256@' \
    && echo '@SHA256@  /usr/local/bin/rgrid.new' | sha256sum -c --quiet \
    && chmod 0755 /usr/local/bin/rgrid.new && mv /usr/local/bin/rgrid.new /usr/local/bin/rgrid && break
  sleep 5
done
systemctl daemon-reload
systemctl enable --now rgrid-runner.service
