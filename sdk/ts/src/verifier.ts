import type { Client } from "./client.js";
import { MeshError } from "./errors.js";
import { unbase64url } from "./session.js";

const leeway = 10; // seconds that clocks may differ
const maxToken = 8 << 10; // characters
const keysEvery = 3_000; // ms; a key that was removed must no longer count 5 s later
const revocationsEvery = 3_000;
const unknownEvery = 10_000;

/** Who calls, as a verified token says it. */
export class Caller {
  constructor(
    readonly token: string,
    readonly userId: string,
    readonly slug: string,
    readonly roles: readonly string[],
    readonly appId: string,
    readonly organizationId: string | undefined,
  ) {}

  /** Tells whether the token carries a role; user-svc:admin has all. */
  hasRole(role: string): boolean {
    return this.roles.includes(role) || this.roles.includes("user-svc:admin");
  }
}

interface Claims {
  iss: string;
  aud: string | string[];
  exp: number;
  iat: number;
  nbf?: number;
  sid: string;
  "1ui": string;
  "1sl": string;
  "1ro"?: string[];
  "1ai": string;
  "1ao"?: string;
}

/**
 * Verifies the tokens of callers (RS256, RFC 7515) with the mesh's keys and revocations, which are fetched again and again from
 * {@link start} on. The last known ones outlive the mesh's absence.
 */
export class Verifier {
  private keys = new Map<string, CryptoKey>();
  private sessions = new Set<string>();
  private lost: Record<string, Record<string, string>> = {};
  private apps: Record<string, Record<string, string[]>> = {};
  private tag: string | undefined;
  private unknown = -unknownEvery;
  private fetching: Promise<void> | undefined;
  private timers: ReturnType<typeof setInterval>[] = [];

  /** audience is the slug of the service, whose own tokens are accepted beside those for the whole mesh. */
  constructor(
    private readonly client: Client,
    private readonly audience?: string,
  ) {}

  /**
   * Fetches keys and revocations, and goes on doing so until {@link stop}.
   *
   * @throws MeshError
   */
  async start(): Promise<void> {
    await this.fetchKeys();
    await this.fetchRevocations();
    const again = (work: () => Promise<void>, every: number) => {
      const timer = setInterval(() => void work().catch(() => undefined), every); // what is known goes on being so
      timer.unref?.();
      this.timers.push(timer);
    };
    again(() => this.fetchKeys(), keysEvery);
    again(() => this.fetchRevocations(), revocationsEvery);
  }

  stop(): void {
    this.timers.forEach(clearInterval);
    this.timers = [];
  }

  /**
   * Gives the caller of a token.
   *
   * @throws MeshError 401
   */
  async verify(token: string | undefined): Promise<Caller> {
    if (!token) throw new MeshError(401, "UNAUTHENTICATED", "sign in: send a token as Authorization: Bearer …");
    const bad = () => new MeshError(401, "INVALID_TOKEN", "the token is not valid");
    if (token.length > maxToken) throw bad();
    const [head, payload, signature, more] = token.split(".", 4);
    if (!head || !payload || !signature || more !== undefined) throw bad();
    let claims: Claims;
    try {
      const header = parse(head) as { alg?: unknown; kid?: unknown; crit?: unknown };
      const key = header.alg === "RS256" && header.crit === undefined ? await this.key(header.kid) : undefined;
      const signed = new TextEncoder().encode(`${head}.${payload}`);
      if (!key || !(await crypto.subtle.verify("RSASSA-PKCS1-v1_5", key, unbase64url(signature), signed))) throw bad();
      claims = parse(payload) as Claims;
    } catch {
      throw bad();
    }
    this.check(claims, bad);
    const roles = (claims["1ro"] ?? []).filter((role) => !this.lacks(claims, role));
    return new Caller(token, claims["1ui"], claims["1sl"], roles, claims["1ai"], claims["1ao"]);
  }

  /** Reports whether the account has lost a role since the token was issued, alone or with all roles of one beginning. */
  private lacks(claims: Claims, role: string): boolean {
    const lost = this.lost[claims["1ui"]] ?? {};
    const apps = this.apps[claims["1ui"]] ?? {};
    const keys = [role];
    if (role !== "user-svc:user") {
      keys.push("*");
      for (let i = role.indexOf(":"); i >= 0; i = role.indexOf(":", i + 1)) keys.push(role.slice(0, i + 1) + "*");
    }
    return keys.some((key) => claims.iat * 1000 <= Date.parse(lost[key] ?? "") && (apps[key]?.includes(claims["1ai"]) ?? true));
  }

  private check(c: Claims, bad: () => MeshError): void {
    const now = Date.now() / 1000;
    const audience = Array.isArray(c.aud) ? c.aud : [c.aud];
    if (c.iss !== "micromesh" || audience.length !== 1 || (audience[0] !== "micromesh" && audience[0] !== this.audience)) throw bad();
    if (typeof c.exp !== "number" || typeof c.iat !== "number" || typeof (c.nbf ?? 0) !== "number") throw bad();
    if (c.iat > now + leeway || (c.nbf ?? 0) > now + leeway) throw bad();
    if (c.exp < now - leeway) throw new MeshError(401, "TOKEN_EXPIRED", "the token has expired: sign in again");
    if (this.sessions.has(c.sid)) throw new MeshError(401, "TOKEN_REVOKED", "the token was revoked: sign in again");
  }

  /** Gives a key. One that is not known may be new: then all are fetched, at most once in 10 s. */
  private async key(kid: unknown): Promise<CryptoKey | undefined> {
    if (typeof kid !== "string") return undefined;
    const known = this.keys.get(kid);
    if (known) return known;
    if (!this.fetching && performance.now() - this.unknown > unknownEvery) {
      this.unknown = performance.now();
      this.fetching = this.fetchKeys()
        .catch(() => undefined)
        .finally(() => (this.fetching = undefined));
    }
    await this.fetching;
    return this.keys.get(kid);
  }

  private async fetchKeys(): Promise<void> {
    const set = (await this.client.request("GET", "/.well-known/jwks.json")) as { keys: (JsonWebKey & { kid?: string })[] };
    const next = new Map<string, CryptoKey>();
    for (const jwk of set.keys) {
      if (jwk.kty !== "RSA" || !jwk.kid) continue;
      next.set(jwk.kid, await crypto.subtle.importKey("jwk", jwk, { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }, false, ["verify"]));
    }
    if (next.size > 0) this.keys = next;
  }

  private async fetchRevocations(): Promise<void> {
    const path = "/.well-known/revocations.json";
    const answer = await this.client.send("GET", path, this.tag ? { headers: { "If-None-Match": this.tag } } : {});
    if (answer.status === 304) return;
    if (!answer.ok) throw await MeshError.from(answer, `GET ${path}`);
    const revoked = (await answer.json()) as {
      sessions?: string[];
      lost?: Record<string, Record<string, string>>;
      apps?: Record<string, Record<string, string[]>>;
    };
    this.sessions = new Set(revoked.sessions ?? []);
    this.lost = revoked.lost ?? {};
    this.apps = revoked.apps ?? {};
    this.tag = answer.headers.get("ETag") ?? undefined;
  }
}

function parse(part: string): object {
  const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(unbase64url(part)));
  if (typeof value !== "object" || value === null) throw new TypeError("not an object");
  return value;
}
