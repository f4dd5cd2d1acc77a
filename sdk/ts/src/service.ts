import { createHmac, randomBytes } from "node:crypto";
import { link, open, readFile, unlink } from "node:fs/promises";
import { createServer, type IncomingMessage, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, resolve } from "node:path";

import { Client, serverURL } from "./client.js";
import { MeshError } from "./errors.js";
import { guard, type Guard, type Handler, listener } from "./middleware.js";
import { Session } from "./session.js";
import { type Caller, Verifier } from "./verifier.js";

/** Settings of a {@link Service}. Only `slug` must be set. */
export interface ServiceConfig {
  /** The service's name in the mesh: its account's slug, and the first segment of its paths. */
  slug: string;
  /** URL of the gateway; MICRO_SERVER or OB_SERVER_URL, else http://127.0.0.1:8080. */
  server?: string;
  /** Where the gateway reaches this service; MICRO_SELF_URL or OB_SELF_URL, else 127.0.0.1 and a free port. */
  selfURL?: string;
  /** File of the account's password, made at the first start; `<slug>.credentials.json`. */
  credentials?: string;
  /** Is told what goes wrong meanwhile; console.error. */
  log?: (message: string) => void;
}

/** A program as a part of the mesh. */
export class Service {
  readonly slug: string;
  readonly server: string;
  private readonly file: string;
  private readonly log: (message: string) => void;
  private readonly verifier: Verifier;
  private selfURL: string | undefined;
  private opened: Session | undefined;
  private instance: string | undefined;
  private proofKey: string | undefined;
  private http: Server | undefined;
  private beating: Promise<void> | undefined;
  private readonly ended = new AbortController();

  constructor(config: ServiceConfig) {
    this.slug = config.slug;
    if (!/^[a-z0-9]+(-[a-z0-9]+)*$/.test(this.slug) || this.slug.length < 2 || this.slug.length > 63) {
      throw new TypeError(
        `slug ${JSON.stringify(this.slug)}: it must be 2 to 63 of a-z and 0-9, in parts joined by single hyphens, such as hello-svc`,
      );
    }
    this.server = serverURL(config.server);
    this.selfURL = config.selfURL ?? (process.env["MICRO_SELF_URL"] || process.env["OB_SELF_URL"] || undefined);
    if (this.selfURL !== undefined && !URL.canParse(this.selfURL)) {
      throw new TypeError(`selfURL ${JSON.stringify(this.selfURL)}: it must be a URL such as http://127.0.0.1:9000`);
    }
    this.file = config.credentials ?? `${this.slug}.credentials.json`;
    this.log = config.log ?? ((message) => console.error(message));
    this.verifier = new Verifier(new Client({ server: this.server }), this.slug);
  }

  /** The service's own sign-in, to call others with. It is there once {@link open} has ended. */
  get session(): Session {
    if (!this.opened) throw new Error("open the service first");
    return this.opened;
  }

  /**
   * Signs in with the stored credentials, or makes the account at the first start; waits for a mesh that is away.
   *
   * @throws MeshError SLUG_TAKEN where the slug is somebody else's
   */
  async open(): Promise<this> {
    const session = new Session({ slug: this.slug, password: await this.password(), device: "service" }, { server: this.server });
    await this.persist(() => this.signIn(session));
    await this.persist(() => this.verifier.start());
    this.opened = session;
    return this;
  }

  /** Calls the mesh as the service. */
  call(method: string, path: string, body?: unknown): Promise<unknown> {
    return this.session.request(method, path, body);
  }

  /** Gives the caller of a request. @throws MeshError 401 */
  verify(request: Request | IncomingMessage): Promise<Caller> {
    const header = request instanceof Request ? request.headers.get("authorization") : request.headers.authorization;
    const [scheme, token] = (header ?? "").split(/ +/, 2);
    return this.verifier.verify(scheme?.toLowerCase() === "bearer" ? token : undefined);
  }

  /** Asks the mesh whether a caller has a permission, by its permits. @throws MeshError */
  async hasPermission(caller: Caller, permission: string): Promise<boolean> {
    const path = `/user-svc/self/has/${encodeURIComponent(permission)}`;
    const answer = (await this.session.client.request("POST", path, { token: caller.token })) as { authorized?: boolean };
    return answer.authorized === true;
  }

  /** Makes a fetch-style handler of one that wants a caller. */
  guard(handler: Handler, who: Guard = {}): (request: Request) => Promise<Response> {
    return guard(this, handler, who);
  }

  /**
   * Serves a fetch-style handler, or a listener of node's http (an Express app is one), registers the instance, and keeps it
   * alive until {@link close}. SIGINT and SIGTERM close it.
   */
  async run(handler: ((request: Request) => Response | Promise<Response>) | RequestListener): Promise<void> {
    if (!this.opened) await this.open();
    const serve = handler.length >= 2 ? (handler as RequestListener) : listener(handler as (request: Request) => Response | Promise<Response>, this.log);
    const http = createServer(this.proving(serve));
    this.http = http;
    await new Promise<void>((done, failed) => {
      http.once("error", failed);
      const url = this.selfURL ? new URL(this.selfURL) : undefined;
      if (url) http.listen(Number(url.port) || (url.protocol === "https:" ? 443 : 80), done);
      else http.listen(0, "127.0.0.1", done);
    });
    this.selfURL ??= `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
    const end = () => void this.close();
    process.once("SIGINT", end).once("SIGTERM", end);
    this.beating = this.beat();
    try {
      await this.beating;
    } finally {
      process.off("SIGINT", end).off("SIGTERM", end);
      await this.leave();
    }
  }

  /**
   * Makes a listener of node's http prove to the registry's health checks that the address is this service's. {@link run}
   * does it; servers that listen by themselves should.
   */
  proving(serve: RequestListener): RequestListener {
    return (request, response) => {
      const nonce = request.headers["mesh-nonce"];
      if (typeof nonce !== "string" || nonce.length > 128 || !this.proofKey) return serve(request, response);
      const proof = createHmac("sha256", Buffer.from(this.proofKey, "hex")).update(`mesh-proof ${nonce}`).digest("hex");
      response.setHeader("Mesh-Proof", proof);
      if (request.url?.endsWith("/.well-known/mesh-proof")) response.writeHead(204).end();
      else serve(request, response);
    };
  }

  /** Takes the instance out of the mesh, and lets requests under way end. */
  async close(): Promise<void> {
    this.ended.abort();
    await this.beating?.catch(() => undefined);
    this.verifier.stop();
  }

  private async leave(): Promise<void> {
    if (this.instance) {
      await this.call("DELETE", `/registry-svc/instance/${encodeURIComponent(this.instance)}`).catch((e: Error) => this.log(e.message));
    }
    await new Promise<void>((done) => {
      this.http?.close(() => done());
      this.http?.closeIdleConnections();
    });
    this.verifier.stop();
  }

  /** Registers again and again: that is the heartbeat, and brings the instance back after an outage. */
  private async beat(): Promise<void> {
    for (let told = false, wait = 0; ; ) {
      if (await this.sleep(wait)) return;
      try {
        const answer = await this.register();
        this.instance = answer.id ?? this.instance;
        wait = Math.max(1, (answer.leaseSeconds ?? 15) / 3) * 1000;
        if (!told) console.log(`serving ${this.server}/${this.slug}/`);
        told = true;
      } catch (e) {
        if (!told && e instanceof MeshError && !e.passing) throw e;
        this.log((e as Error).message);
        wait = 1000;
      }
    }
  }

  private async register(): Promise<{ id?: string; leaseSeconds?: number }> {
    const put = async () => {
      const answer = await this.session.request("PUT", "/registry-svc/instance", { url: this.selfURL });
      const registered = answer as { id?: string; leaseSeconds?: number; proofKey?: string };
      this.proofKey = registered.proofKey ?? this.proofKey;
      return registered;
    };
    try {
      return await put();
    } catch (e) {
      const key = e instanceof MeshError && e.status === 409 ? e.details.find((d) => d.field === "proofKey")?.message : undefined;
      if (!key) throw e;
      this.proofKey = key; // another account has the URL, unless the address proves that it is ours
      return await put();
    }
  }

  /** Waits, and tells whether the service has been closed. */
  private sleep(ms: number): Promise<boolean> {
    const { signal } = this.ended;
    if (signal.aborted) return Promise.resolve(true);
    return new Promise((done) => {
      const end = () => {
        clearTimeout(timer);
        done(true);
      };
      const timer = setTimeout(() => {
        signal.removeEventListener("abort", end);
        done(false);
      }, ms);
      signal.addEventListener("abort", end, { once: true });
    });
  }

  private async persist(work: () => Promise<unknown>): Promise<void> {
    for (let delay = 200; ; delay = Math.min(2 * delay, 5000)) {
      try {
        await work();
        return;
      } catch (e) {
        if (!(e instanceof MeshError) || !e.passing) throw e;
        this.log(e.message);
      }
      if (await this.sleep(delay)) throw new Error("the service was closed");
    }
  }

  private async signIn(session: Session): Promise<void> {
    try {
      await session.token();
      return;
    } catch (e) {
      if (!(e instanceof MeshError) || e.status !== 401) throw e;
    }
    try {
      await session.register();
    } catch (e) {
      if (!(e instanceof MeshError) || e.status !== 409) throw e;
      throw new MeshError(401, "SLUG_TAKEN", `the slug ${this.slug} is somebody else's: take another, or bring its ${this.file}`);
    }
  }

  /** Reads the stored password; or makes one, on disk before any account has it. */
  private async password(): Promise<string> {
    try {
      const stored = JSON.parse(await readFile(this.file, "utf8")) as { slug?: string; password?: string };
      if (stored.slug !== this.slug || !stored.password) throw new Error(`${this.file} is not of ${this.slug}`);
      return stored.password;
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code !== "ENOENT") throw e;
    }
    const password = randomBytes(32).toString("base64url");
    const draft = `${this.file}.${randomBytes(4).toString("hex")}`;
    await durably(draft, "wx", (f) => f.writeFile(JSON.stringify({ slug: this.slug, password })));
    try {
      await link(draft, this.file); // which fails where another process was first
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code === "EEXIST") return await this.password();
      throw e;
    } finally {
      await unlink(draft);
    }
    await durably(dirname(resolve(this.file)), "r", async () => undefined);
    return password;
  }
}

/** Opens a file or a folder, works on it, and has the disk take it. */
async function durably(path: string, flags: string, work: (f: Awaited<ReturnType<typeof open>>) => Promise<void>): Promise<void> {
  const f = await open(path, flags, 0o600);
  try {
    await work(f);
    await f.sync();
  } finally {
    await f.close();
  }
}
