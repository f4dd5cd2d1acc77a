"""A first service behind the mesh, with Python's standard library alone.

    python3 hello.py            # then: curl http://127.0.0.1:8080/hello-py/hello

Settings: MICRO_SERVER (the gateway, http://127.0.0.1:8080), MICRO_SELF_URL (where the gateway reaches this service;
http://127.0.0.1 and a free port), SLUG (hello-py). The account's password is made at the first start and kept in
<slug>.password beside this program's working folder.
"""

import hashlib
import hmac
import http.server
import json
import os
import secrets
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request

SERVER = os.environ.get("MICRO_SERVER") or os.environ.get("OB_SERVER_URL") or "http://127.0.0.1:8080"
SELF = os.environ.get("MICRO_SELF_URL") or os.environ.get("OB_SELF_URL")
SLUG = os.environ.get("SLUG", "hello-py")


def call(method, path, body=None, token=None):
    """Calls the mesh; gives the answer's JSON, or raises RuntimeError with what the mesh says."""
    request = urllib.request.Request(SERVER + path, method=method)
    request.add_header("Content-Type", "application/json")
    request.add_header("Mesh-Api-Version", "2")
    if token:
        request.add_header("Authorization", "Bearer " + token)
    data = json.dumps(body).encode() if body is not None else None
    try:
        with urllib.request.urlopen(request, data, timeout=10) as answer:
            return json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as e:
        text = e.read()
        try:
            take_key(json.loads(text))
            text = json.loads(text)["error"]
        except (ValueError, KeyError):
            pass
        raise RuntimeError(f"{method} {path}: {e.code}: {text}") from e
    except OSError as e:
        raise RuntimeError(f"no mesh answers at {SERVER}: start one with `micro up` ({e})") from e


proof_key = b""  # comes with the registration; the program that has it is this service


def take_key(answer):
    """Takes the key of an answer, or of the refusal of a URL that another account has."""
    global proof_key
    given = [d.get("message") for d in answer.get("details") or [] if d.get("field") == "proofKey"]
    proof_key = bytes.fromhex((given or [answer.get("proofKey")])[0] or "") or proof_key


def register(url, token):
    """Registers where the service listens. Where another account has the URL, the next try proves that it is ours by now."""
    try:
        answer = call("PUT", "/registry-svc/instance", {"url": url}, token)
    except RuntimeError as e:
        if ": 409:" not in str(e):
            raise
        answer = call("PUT", "/registry-svc/instance", {"url": url}, token)
    take_key(answer)
    return answer


def sign_in():
    """Signs in with the stored password; at the first start makes one and registers the account."""
    file = SLUG + ".password"
    first = not os.path.exists(file)
    if first:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as f:
            f.write(secrets.token_urlsafe(32))
            f.flush()
            os.fsync(f.fileno())
    with open(file) as f:
        account = {"appHost": "unnamed", "slug": SLUG, "password": f.read().strip()}
    try:
        return call("POST", "/user-svc/login", account)["token"]["token"]
    except RuntimeError as e:
        if ": 401:" not in str(e):
            raise
    return call("POST", "/user-svc/register", {**account, "name": SLUG})["token"]["token"]


class Hello(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.headers.get_all("Content-Length") not in (None, ["0"]) or "Transfer-Encoding" in self.headers:
            # Nothing here reads a body. Left on the connection, it would be taken for the next request.
            self.close_connection = True
            return self.answer(400, {"error": "GET takes no body", "code": "UNEXPECTED_BODY"})
        if urllib.parse.urlsplit(self.path).path != f"/{SLUG}/hello":
            return self.answer(404, {"error": "there is only /hello", "code": "NOT_FOUND"})
        # X-User-Slug comes from the gateway, which has verified the caller's token; nobody else can set it.
        self.answer(200, {"hello": self.headers.get("X-User-Slug", "world")})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        nonce = self.headers.get("Mesh-Nonce")  # a health check, which wants a proof
        if nonce and proof_key:
            self.send_header("Mesh-Proof", hmac.new(proof_key, f"mesh-proof {nonce}".encode(), hashlib.sha256).hexdigest())
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def main():
    port = urllib.parse.urlsplit(SELF).port or 80 if SELF else 0
    server = http.server.ThreadingHTTPServer(("127.0.0.1" if not SELF else "", port), Hello)
    url = SELF or f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()

    token = sign_in()
    register(url, token)
    print(f"serving {SERVER}/{SLUG}/hello", flush=True)
    stop = threading.Event()
    try:
        while not stop.wait(5):  # registering again is the heartbeat
            try:
                register(url, token)
            except RuntimeError as e:
                try:
                    if ": 401:" not in str(e):  # unless the token has expired
                        raise
                    token = sign_in()
                except RuntimeError as e:
                    print(e, file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as e:
        sys.exit(str(e))
