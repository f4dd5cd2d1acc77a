"""A service of a Micromesh mesh, with Python's standard library alone: this one file.

    from micromesh import Service

    svc = Service("hello-svc")

    @svc.route("GET", "/hello-svc/hello")
    def hello(request):
        return {"hello": request.caller.slug if request.caller else "world"}

    @svc.route("PUT", "/hello-svc/pet/{id}", role="hello-svc:pet:manager")
    def save(request):
        return 201, {"id": request.params["id"], **request.json()}

    svc.run()

The account is made at the first start; its password is kept in <slug>.credentials.json. The instance is registered, kept
alive, and taken out at the end. Callers' tokens are verified here (RS256, RFC 7515), with the mesh's keys and
revocations, which are fetched again and again.

Settings: MICRO_SERVER or OB_SERVER_URL (the gateway; http://127.0.0.1:8080), MICRO_SELF_URL or OB_SELF_URL (where the
gateway reaches this service; http://127.0.0.1 and a free port). Python 3.9 or newer.
"""

import base64
import calendar
import hashlib
import hmac
import http.client
import http.server
import json
import os
import re
import secrets
import signal
import socketserver
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

__all__ = ["Service", "Request", "Caller", "MeshError"]

_LEEWAY = 10  # seconds that clocks may differ
_MAX_TOKEN = 8 << 10  # bytes
_MAX_BODY = 4 << 20  # bytes
_KEYS_EVERY = 3  # seconds; a key that was removed must no longer count 5 s later
_REVOCATIONS_EVERY = 3  # seconds
_UNKNOWN_EVERY = 10  # seconds between fetches because of an unknown key
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\Z")


class MeshError(Exception):
    """An error that the mesh answered, or that a handler raises to answer it.

    status is the HTTP status (0 where nobody answered), code is SCREAMING_SNAKE, details is a list of field, rule, message.
    """

    def __init__(self, status, code, message, details=None):
        super().__init__(message)
        self.status, self.code, self.message, self.details = status, code, message, details or []


class Caller:
    """Who calls, as a verified token says it."""

    def __init__(self, claims, token):
        self.claims, self.token = claims, token
        self.user_id, self.slug = claims.get("1ui", ""), claims.get("1sl", "")
        self.app_id, self.organization_id = claims.get("1ai", ""), claims.get("1ao", "")
        self.roles = list(claims.get("1ro") or [])

    def has_role(self, role):
        """Tells whether the token carries a role; user-svc:admin has all."""
        return role in self.roles or "user-svc:admin" in self.roles


class Request:
    """A request to a handler: method, path, query (the last value of each name), params (of the path), headers, body, caller."""

    def __init__(self, method, path, query, params, headers, body, caller):
        self.method, self.path, self.query, self.params = method, path, query, params
        self.headers, self.body, self.caller = headers, body, caller

    def json(self):
        """Gives the body's JSON object; an empty body is an empty one. MeshError 400 for anything else."""
        try:
            value = json.loads(self.body or b"{}")
        except (ValueError, RecursionError):
            raise MeshError(400, "INVALID_JSON", "the body is not valid JSON") from None
        if not isinstance(value, dict):
            raise MeshError(400, "INVALID_JSON", "the body must be a JSON object")
        return value


def _unbase64url(text):
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise ValueError("not base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# What an RS256 signature holds before the hash: DigestInfo of SHA-256 (RFC 8017, section 9.2).
_SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")


def _signed(key, signature, message):
    """Tells whether an RSASSA-PKCS1-v1_5 signature with SHA-256 is good (RFC 8017, section 8.2.2)."""
    n, e = key
    size = (n.bit_length() + 7) // 8
    if len(signature) != size:
        return False
    number = int.from_bytes(signature, "big")
    if number >= n:
        return False
    tail = b"\x00" + _SHA256 + hashlib.sha256(message).digest()
    want = b"\x00\x01" + b"\xff" * (size - 2 - len(tail)) + tail
    return secrets.compare_digest(pow(number, e, n).to_bytes(size, "big"), want)


class _Keys:
    """The mesh's public keys and revocations. The last known ones outlive its absence."""

    def __init__(self, service):
        self.service = service
        self.keys, self.sessions, self.lost, self.apps, self.tag = {}, frozenset(), {}, {}, None
        self.lock, self.unknown = threading.Lock(), 0.0

    def fetch(self):
        found = {}
        for jwk in self.service._send("GET", "/.well-known/jwks.json")[0]["keys"]:
            if jwk.get("kty") == "RSA" and jwk.get("kid"):
                n, e = (int.from_bytes(_unbase64url(jwk[f]), "big") for f in ("n", "e"))
                if n.bit_length() >= 2048 and 1 < e < 1 << 32:
                    found[jwk["kid"]] = (n, e)
        if found:
            self.keys = found

    def fetch_revocations(self):
        headers = {"If-None-Match": self.tag} if self.tag else {}
        revoked, answer = self.service._send("GET", "/.well-known/revocations.json", headers=headers)
        if answer.status == 304:
            return
        self.sessions = frozenset(revoked.get("sessions") or [])
        self.lost, self.apps = revoked.get("lost") or {}, revoked.get("apps") or {}
        self.tag = answer.headers.get("ETag")

    def roles(self, claims):
        """Returns the roles of a token without those that its account has lost since, one by one or all with one beginning."""
        user, app, roles = claims.get("1ui"), claims.get("1ai"), claims.get("1ro") or []
        lost, apps = self.lost.get(user) or {}, self.apps.get(user) or {}
        if not lost:
            return roles

        def gone(key):
            return key in lost and claims["iat"] <= _seconds(lost[key]) and app in (apps.get(key) or [app])

        def keys(role):
            marks = ["*"] + [role[: i + 1] + "*" for i, c in enumerate(role) if c == ":"]
            return [role] if role == "user-svc:user" else [role, *marks]

        return [role for role in roles if not any(map(gone, keys(role)))]

    def find(self, kid):
        """Gives a key. One that is not known may be new: then all are fetched, at most once in 10 s."""
        key = self.keys.get(kid)
        if key or not isinstance(kid, str):
            return key
        with self.lock:
            if kid not in self.keys and time.monotonic() - self.unknown > _UNKNOWN_EVERY:
                self.unknown = time.monotonic()
                try:
                    self.fetch()
                except MeshError:
                    pass  # what is known goes on being so
        return self.keys.get(kid)


class Service:
    """A program as a part of the mesh. Its methods may be called by any thread."""

    def __init__(self, slug, server=None, self_url=None, credentials=None, name=None):
        env = os.environ.get
        self.slug, self.name = slug, name or slug
        self.server = (server or env("MICRO_SERVER") or env("OB_SERVER_URL") or "http://127.0.0.1:8080").rstrip("/")
        self.self_url = (self_url or env("MICRO_SELF_URL") or env("OB_SELF_URL") or "").rstrip("/")
        self.credentials = credentials or slug + ".credentials.json"
        if not 2 <= len(slug) <= 63 or not _SLUG.match(slug):
            raise ValueError(f"slug {slug!r}: it must be 2 to 63 of a-z and 0-9, in parts joined by single hyphens, such as hello-svc")
        for what, url in (("server", self.server), ("self_url", self.self_url or "http://x")):
            parts = urllib.parse.urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"{what} {url!r}: it must be a URL such as http://127.0.0.1:8080")
        self._routes, self._lock, self._token, self._expires = [], threading.Lock(), None, 0.0
        self._keys, self._stop, self._instance = _Keys(self), threading.Event(), None
        self._proof_key = None

    # Calls

    def call(self, method, path, body=None, token=None, headers=None):
        """Calls the mesh through the gateway, as this service, or with another token (a caller's, to act for them).

        Gives the answer's JSON. MeshError tells what the mesh has answered, or status 0 that nobody did.
        """
        if token is not None:
            return self._send(method, path, body, token, headers)[0]
        try:
            return self._send(method, path, body, self.token(), headers)[0]
        except MeshError as e:
            if e.status != 401:
                raise
        self._token = None  # it may have been revoked: sign in anew, once
        return self._send(method, path, body, self.token(), headers)[0]

    def _send(self, method, path, body=None, token=None, headers=None):
        request = urllib.request.Request(self.server + path, method=method, headers={"Mesh-Api-Version": "2", **(headers or {})})
        if token:
            request.add_header("Authorization", "Bearer " + token)
        data = None
        if body is not None:
            request.add_header("Content-Type", "application/json")
            data = json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, data, timeout=10) as answer:
                return json.loads(answer.read() or b"{}"), answer
        except urllib.error.HTTPError as e:
            text = e.read()
            if e.code == 304:
                return {}, e
            try:
                error = json.loads(text)
                raise MeshError(e.code, error["code"], error["error"], error.get("details")) from None
            except (ValueError, KeyError, TypeError):
                raise MeshError(e.code, "UNKNOWN", f"{method} {path}: {e.code}") from None
        except (OSError, http.client.HTTPException, ValueError) as e:
            raise MeshError(0, "UNREACHABLE", f"no mesh answers at {self.server}: {e}") from None

    def token(self):
        """Gives a token of this service that is good for a while: signs in where there is none."""
        with self._lock:
            if self._token is None or time.time() > self._expires:
                token = self._sign_in()
                self._token = token["token"]
                claims = json.loads(_unbase64url(self._token.split(".")[1]))
                life = claims["exp"] - claims["iat"]  # by the mesh's clock, which may not be ours
                self._expires = time.time() + life * 2 / 3
            return self._token

    def _sign_in(self):
        account = {"appHost": "unnamed", "slug": self.slug, "password": self._password(), "device": "service"}
        try:
            return self._send("POST", "/user-svc/login", account)[0]["token"]
        except MeshError as e:
            if e.status != 401:
                raise
        try:
            return self._send("POST", "/user-svc/register", {**account, "name": self.name})[0]["token"]
        except MeshError as e:
            if e.status != 409:
                raise
            raise MeshError(401, "SLUG_TAKEN", f"the slug {self.slug} is somebody else's: take another, or bring its {self.credentials}") from None

    def _password(self):
        """Reads the stored password; or makes one, on disk before any account has it."""
        try:
            with open(self.credentials, encoding="utf-8") as f:
                stored = json.load(f)
            if stored.get("slug") != self.slug:
                raise ValueError(f"{self.credentials} is of {stored.get('slug')}, not of {self.slug}")
            return stored["password"]
        except FileNotFoundError:
            pass
        password = secrets.token_urlsafe(32)
        draft = f"{self.credentials}.{secrets.token_hex(4)}"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as f:
            json.dump({"slug": self.slug, "password": password}, f)
            f.flush()
            os.fsync(f.fileno())
        try:
            os.link(draft, self.credentials)  # which fails where another process was first
        except FileExistsError:
            return self._password()
        finally:
            os.unlink(draft)
        folder = os.open(os.path.dirname(os.path.abspath(self.credentials)), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return password

    # Callers

    def verify(self, token):
        """Gives the Caller of a token. MeshError 401 for one that is not good."""
        bad = MeshError(401, "INVALID_TOKEN", "the token is not valid")
        if not token:
            raise MeshError(401, "UNAUTHENTICATED", "sign in: send a token as Authorization: Bearer …")
        if len(token) > _MAX_TOKEN or token.count(".") != 2:
            raise bad
        head, payload, signature = token.split(".")
        try:
            header = json.loads(_unbase64url(head))
            if not isinstance(header, dict) or header.get("alg") != "RS256" or "crit" in header:
                raise bad
            key = self._keys.find(header.get("kid"))
            if key is None or not _signed(key, _unbase64url(signature), f"{head}.{payload}".encode()):
                raise bad
            claims = json.loads(_unbase64url(payload))
        except (ValueError, RecursionError):
            raise bad from None
        self._check(claims, bad)
        claims["1ro"] = self._keys.roles(claims)
        return Caller(claims, token)

    def _check(self, claims, bad):
        now = time.time()
        audience = claims.get("aud") if isinstance(claims, dict) else None
        if isinstance(audience, str):
            audience = [audience]
        if not isinstance(claims, dict) or claims.get("iss") != "micromesh":
            raise bad
        if audience not in (["micromesh"], [self.slug]):
            raise bad
        if not _number(claims.get("exp")) or not _number(claims.get("iat")) or not _number(claims.get("nbf", 0)):
            raise bad
        if claims["iat"] > now + _LEEWAY or claims.get("nbf", 0) > now + _LEEWAY:
            raise bad
        if claims["exp"] < now - _LEEWAY:
            raise MeshError(401, "TOKEN_EXPIRED", "the token has expired: sign in again")
        if claims.get("sid") in self._keys.sessions:
            raise MeshError(401, "TOKEN_REVOKED", "the token was revoked: sign in again")

    def has_permission(self, caller, permission):
        """Asks the mesh whether a caller has a permission, by its permits."""
        path = "/user-svc/self/has/" + urllib.parse.quote(permission, safe="")
        return bool(self.call("POST", path, token=caller.token).get("authorized"))

    # Serving

    def route(self, method, path, role=None, signed_in=False):
        """Makes a function the handler of a method and a path, whose segments may be {parameters}.

        It is given a Request, and answers with a value for JSON, or with (status, value). role, or signed_in, refuses other
        callers with 401 and 403. It may raise MeshError.
        """
        if not path.startswith(f"/{self.slug}/") and path != f"/{self.slug}":
            raise ValueError(f"path {path!r}: the gateway leads /{self.slug}/… here, so it must begin with that")
        pattern = "".join(
            f"(?P<{part[1:-1]}>[^/]+)" if part.startswith("{") and part.endswith("}") else re.escape(part)
            for part in re.split(r"(\{\w+\})", path)
        )

        def add(handler):
            self._routes.append((method.upper(), re.compile(pattern + r"\Z"), handler, role, signed_in or role is not None))
            return handler

        return add

    def handle(self, method, target, headers, body):
        """Answers a request with (status, value); value is for JSON, None is no body. For servers of another kind."""
        try:
            parts = urllib.parse.urlsplit(target)
            query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
            return self._dispatch(method, parts.path, query, headers, body)
        except MeshError as e:
            return e.status or 502, {"error": e.message, "code": e.code, "details": e.details}
        except Exception as e:  # a handler's fault is no caller's business
            print(f"{method} {target.split('?')[0]}: {e!r}", file=sys.stderr, flush=True)
            return 500, {"error": "something went wrong on our side", "code": "INTERNAL"}

    def _dispatch(self, method, path, query, headers, body):
        allowed = set()
        for verb, pattern, handler, role, signed_in in self._routes:
            match = pattern.match(path)
            if not match:
                continue
            if verb != method and not (verb == "GET" and method == "HEAD"):
                allowed.add(verb)
                continue
            scheme, _, token = (headers.get("Authorization") or "").partition(" ")
            caller = None
            if signed_in or token:
                caller = self.verify(token.strip() if scheme.lower() == "bearer" else "")
            if role and not caller.has_role(role):
                raise MeshError(403, "FORBIDDEN", f"this takes the role {role}")
            params = {k: urllib.parse.unquote(v) for k, v in match.groupdict().items()}
            answer = handler(Request(method, path, query, params, headers, body, caller))
            if isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], int):
                return answer
            return 200, answer
        if allowed:
            raise MeshError(405, "METHOD_NOT_ALLOWED", "this path takes " + ", ".join(sorted(allowed)))
        raise MeshError(404, "NOT_FOUND", f"{self.slug} has no such path")

    def run(self):
        """Signs in, serves, registers, and keeps the instance alive until SIGINT or SIGTERM."""
        url = urllib.parse.urlsplit(self.self_url)
        address = ("", url.port or (443 if url.scheme == "https" else 80)) if self.self_url else ("127.0.0.1", 0)
        with _Server(address, _handler(self)) as server:
            self.self_url = self.self_url or f"http://127.0.0.1:{server.server_port}"
            if threading.current_thread() is threading.main_thread():
                for s in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(s, lambda *_: self._stop.set())
            self._persist(self.token)
            self._persist(self._keys.fetch)
            self._persist(self._keys.fetch_revocations)
            serving = threading.Thread(target=server.serve_forever, daemon=True)
            serving.start()
            following = threading.Thread(target=self._follow, daemon=True)
            following.start()
            try:
                if not self._stop.is_set():
                    self._beat()
            finally:
                self._leave()
                server.shutdown()
                serving.join()

    def stop(self):
        """Ends run."""
        self._stop.set()

    def _persist(self, work):
        """Does what takes a mesh, waiting for one that is away."""
        delay = 0.2
        while not self._stop.is_set():
            try:
                return work()
            except MeshError as e:
                if 0 < e.status < 500 and e.status != 429:
                    raise
                print(e.message, file=sys.stderr, flush=True)
            self._stop.wait(delay)
            delay = min(2 * delay, 5)
        return None

    def _beat(self):
        """Registers again and again: that is the heartbeat, and brings the instance back after an outage."""
        wait, told = 0.0, False
        while not self._stop.wait(wait):
            try:
                answer = self._register()
                self._instance = answer.get("id") or self._instance
                wait = max(1, (answer.get("leaseSeconds") or 15) / 3)
                if not told:
                    print(f"serving {self.server}/{self.slug}/", flush=True)
                told = True
            except MeshError as e:
                if not told and 0 < e.status < 500 and e.status != 429:
                    raise
                print(e.message, file=sys.stderr, flush=True)
                wait = 1

    def _register(self):
        try:
            return self._put()
        except MeshError as e:
            key = next((d.get("message") for d in e.details if d.get("field") == "proofKey"), None)
            if e.status != 409 or not key:
                raise
        self._proof_key = key  # another account has the URL, unless the address proves that it is ours
        return self._put()

    def _put(self):
        answer = self.call("PUT", "/registry-svc/instance", {"url": self.self_url})
        self._proof_key = answer.get("proofKey") or self._proof_key
        return answer

    def prove(self, headers):
        """Returns the Mesh-Proof header for a request's headers, or None. It proves to health checks that the address is this service's.

        Servers of another kind send it with each answer, and answer paths that end in /.well-known/mesh-proof with it.
        """
        nonce = headers.get("Mesh-Nonce")
        if not nonce or len(nonce) > 128 or not self._proof_key:
            return None
        return hmac.new(bytes.fromhex(self._proof_key), f"mesh-proof {nonce}".encode(), hashlib.sha256).hexdigest()

    def _leave(self):
        if self._instance:
            try:
                self.call("DELETE", "/registry-svc/instance/" + urllib.parse.quote(self._instance, safe=""))
            except MeshError as e:
                print(e.message, file=sys.stderr, flush=True)

    def _follow(self):
        turn = 0
        while not self._stop.wait(_REVOCATIONS_EVERY):
            turn += 1
            try:
                self._keys.fetch_revocations()
                if turn % (_KEYS_EVERY // _REVOCATIONS_EVERY) == 0:
                    self._keys.fetch()
            except (MeshError, KeyError, TypeError, ValueError):
                pass  # what is known goes on being so; the heartbeats say that the mesh is away


def _seconds(time_text):
    """Gives an RFC 3339 time in seconds."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", time_text)
    if not match:
        return float("inf")
    seconds = calendar.timegm(time.strptime(match[1], "%Y-%m-%dT%H:%M:%S"))
    if match[3] != "Z":
        sign = -1 if match[3][0] == "+" else 1
        seconds += sign * (int(match[3][1:3]) * 3600 + int(match[3][4:]) * 60)
    return seconds + float(match[2] or 0)


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads, allow_reuse_address, request_queue_size = True, True, 128


def _handler(service):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version, server_version, sys_version, timeout = "HTTP/1.1", "micromesh", "", 75

        def _serve(self):
            proof = service.prove(self.headers)
            status, value = (204, None) if proof and self.path.endswith("/.well-known/mesh-proof") else self._answer()
            body = b"" if value is None else json.dumps(value, ensure_ascii=False).encode()
            self.send_response(status)
            if proof:
                self.send_header("Mesh-Proof", proof)
            if body:
                self.send_header("Content-Type", "application/json")
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD" and status != 204:
                self.wfile.write(body)

        def _answer(self):
            length = self.headers.get("Content-Length", "0")
            if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
                self.close_connection = True
                return 411, {"error": "send a Content-Length", "code": "LENGTH_REQUIRED"}
            if not length.isdigit() or int(length) > _MAX_BODY:
                self.close_connection = True
                return 413, {"error": f"a body has at most {_MAX_BODY} bytes", "code": "TOO_LARGE"}
            return service.handle(self.command, self.path, self.headers, self.rfile.read(int(length)))

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve

        def log_message(self, *_):
            pass

    return Handler
