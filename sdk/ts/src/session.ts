import { Client, type ClientConfig } from "./client.js";
import { MeshError } from "./errors.js";

/** How an account signs in. */
export interface Credentials {
  slug: string;
  password: string;
  appHost?: string;
  device?: string;
}

/**
 * An account that is signed in, and stays so: its token is replaced before it expires, and once more where the mesh says that it is no
 * longer good.
 */
export class Session {
  readonly client: Client;
  private readonly anonymous: Client;
  private current: { token: string; until: number } | undefined;
  private signingIn: Promise<string> | undefined;

  constructor(
    private readonly credentials: Credentials,
    config: Omit<ClientConfig, "token"> = {},
  ) {
    this.anonymous = new Client(config);
    this.client = new Client({ ...config, token: () => this.token() });
  }

  /**
   * Gives a token that is good for a while: a new one where there is none. Of many who ask at once one signs in.
   *
   * @throws MeshError
   */
  async token(): Promise<string> {
    if (this.current && Date.now() < this.current.until) return this.current.token;
    this.signingIn ??= this.signIn().finally(() => (this.signingIn = undefined));
    return this.signingIn;
  }

  /** Makes an account, and signs in as it. */
  async register(name = this.credentials.slug): Promise<string> {
    return this.take(await this.anonymous.call("POST /user-svc/register", { body: { ...this.account(), name } }));
  }

  /** Forgets the token: the next one is a new sign-in's. */
  forget(): void {
    this.current = undefined;
  }

  /**
   * Makes a request as the account. Where the token is refused, it is made once more with a new one.
   *
   * @throws MeshError
   */
  async request(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<unknown> {
    try {
      return await this.client.request(method, path, { body, headers });
    } catch (e) {
      if (!(e instanceof MeshError) || e.status !== 401) throw e;
    }
    this.forget();
    return this.client.request(method, path, { body, headers });
  }

  private async signIn(): Promise<string> {
    return this.take(await this.anonymous.call("POST /user-svc/login", { body: this.account() }));
  }

  /** Returns what the mesh knows of the credentials: an object of the caller's may have more, which the mesh would refuse. */
  private account(): Credentials & { appHost: string } {
    const { slug, password, appHost = "unnamed", device } = this.credentials;
    return { slug, password, appHost, ...(device === undefined ? {} : { device }) };
  }

  private take(answer: { token?: { token?: string } }): string {
    const token = answer.token?.token;
    if (!token) throw new MeshError(502, "UNKNOWN", "the mesh answered without a token");
    const { iat, exp } = JSON.parse(new TextDecoder().decode(unbase64url(token.split(".")[1] ?? ""))) as { iat: number; exp: number };
    // By the life that the mesh gave it: our clock may differ from the mesh's.
    this.current = { token, until: Date.now() + ((exp - iat) * 2000) / 3 };
    return token;
  }
}

/** Decodes base64url (RFC 4648, section 5). Throws for anything else. */
export function unbase64url(text: string): Uint8Array<ArrayBuffer> {
  if (!/^[A-Za-z0-9_-]*$/.test(text)) throw new TypeError("not base64url");
  const raw = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
  const out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out;
}
