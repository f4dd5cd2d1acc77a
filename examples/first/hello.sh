#!/bin/sh
# Puts any HTTP server behind the mesh, with curl alone.
#
#     python3 -m http.server 9000 --bind 127.0.0.1 &
#     sh hello.sh files-svc http://127.0.0.1:9000     # then: curl http://127.0.0.1:8080/files-svc/
#
# The account's password is made at the first start and kept in <slug>.password. The registration needs no heartbeat as
# long as the server answers: the mesh looks for itself.
set -eu
slug=${1:?usage: hello.sh SLUG URL} url=${2:?usage: hello.sh SLUG URL}
server=${MICRO_SERVER:-${OB_SERVER_URL:-http://127.0.0.1:8080}}

# call METHOD PATH JSON [TOKEN] prints the answer, or fails with what the mesh says.
call() {
  answer=$(curl -sS -X "$1" "$server$2" -H 'Content-Type: application/json' ${4:+-H "Authorization: Bearer $4"} -d "$3" -w '\n%{http_code}') ||
    { echo "no mesh answers at $server: start one with \`micro up\`" >&2; exit 1; }
  status=${answer##*
}
  body=${answer%
*}
  [ "$status" -lt 400 ] || { echo "$1 $2: $status: $body" >&2; return 1; }
  printf '%s\n' "$body"
}

[ -s "$slug.password" ] || (umask 077; head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$slug.password")
account="{\"appHost\":\"unnamed\",\"slug\":\"$slug\",\"name\":\"$slug\",\"password\":\"$(cat "$slug.password")\"}"
answer=$(call POST /user-svc/login "$account" 2>/dev/null) || answer=$(call POST /user-svc/register "$account")
token=$(printf '%s' "$answer" | sed -n 's/.*"token": *"\(ey[^"]*\)".*/\1/p')
call PUT /registry-svc/instance "{\"url\":\"$url\"}" "$token" >/dev/null
echo "serving $server/$slug/"
