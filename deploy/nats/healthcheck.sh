#!/bin/sh
# The health check of NATS in compose: ends well where the server is well.
#
# A server that couldn't write a stream, as on a full disk, refuses to for as long as it has that open, and some versions turn
# JetStream off. Compose starts a container again when it has ended, not when it is ill: so this ends such a server, once its
# disk takes something again.
set -u
monitor=${NATS_MONITOR:-127.0.0.1:8222}
store=${NATS_STORE:-/data}
pid=${NATS_PID:-1}

wget -q -O /dev/null "http://$monitor/healthz" && exit 0

ask() { printf 'GET %s HTTP/1.0\r\n\r\n' "$1" | nc "${monitor%:*}" "${monitor#*:}"; }
why=$(ask /healthz | tail -n 1)
uptime=$(ask /varz | sed -n 's/.*"uptime": *"\([^"]*\)".*/\1/p')
case "$uptime $why" in
*'write error'*) ill=1 ;;
*[hdy]*' '*'not enabled'*) ill=1 ;; # for an hour or more: one that starts is not enabled yet
*) ill=0 ;;
esac
if [ "$ill" = 1 ] && dd if=/dev/zero of="$store/.room" bs=1024k count=1 conv=fsync 2>/dev/null; then
  kill -TERM "$pid"
fi
rm -f "$store/.room"
echo "$why"
exit 1
