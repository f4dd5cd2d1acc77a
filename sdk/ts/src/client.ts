import type { paths } from "./api.js";
import { MeshError } from "./errors.js";

type Method = "get" | "put" | "post" | "delete" | "patch";
type Operation<K> = K extends `${infer M} ${infer P}`
  ? P extends keyof paths
    ? Lowercase<M> extends keyof paths[P]
      ? paths[P][Lowercase<M>]
      : never
    : never
  : never;

/** The calls of the mesh's own services: "POST /user-svc/login", and so on. */
export type Call = {
  [P in keyof paths]: {
    [M in Method]: paths[P][M] extends object ? `${Uppercase<M>} ${P & string}` : never;
  }[Method];
}[keyof paths];

type Json<T> = T extends { content: { "application/json": infer B } } ? B : undefined;

type Parameters<K extends Call> = Operation<K> extends { parameters: infer P } ? P : never;
type PathNames<K extends Call> = Parameters<K> extends { path: infer P } ? keyof P : never;
type Message<K extends Call> = Operation<K> extends { requestBody?: infer B } ? Json<NonNullable<B>> : undefined;

/** The body of a call, without what its path says. */
export type Body<K extends Call> = Message<K> extends object ? Omit<Message<K>, PathNames<K>> : undefined;
type Success<R> = R extends { 200: infer A } ? A : R extends { 201: infer A } ? A : R extends { 204: infer A } ? A : never;

/** The answer of a call. */
export type Answer<K extends Call> = Operation<K> extends { responses: infer R } ? Json<Success<R>> : never;

/** What a call takes beside its body. */
export interface Options<K extends Call> {
  body?: Body<K>;
  /** Parameters of the path. */
  path?: Parameters<K> extends { path: infer P } ? P : Record<string, string>;
  query?: Parameters<K> extends { query?: infer Q } ? Q : Record<string, string>;
  /** A token to call with, in place of the client's. */
  token?: string;
  signal?: AbortSignal;
}

/** Settings of a {@link Client}. */
export interface ClientConfig {
  /** URL of the gateway; MICRO_SERVER or OB_SERVER_URL, else http://127.0.0.1:8080. */
  server?: string;
  /** Gives the token to call with; nobody is signed in where it is left out. */
  token?: () => string | undefined | Promise<string | undefined>;
  /** Milliseconds that an answer may take; 10,000. */
  timeout?: number;
}

const env = (name: string): string | undefined => (typeof process === "undefined" ? undefined : process.env[name] || undefined);

/** The gateway's URL by the settings and the environment. Throws for what is no URL. */
export function serverURL(given?: string): string {
  const raw = given ?? env("MICRO_SERVER") ?? env("OB_SERVER_URL") ?? "http://127.0.0.1:8080";
  if (!URL.canParse(raw) || !/^https?:$/.test(new URL(raw).protocol)) {
    throw new TypeError(`server ${JSON.stringify(raw)}: it must be a URL such as http://127.0.0.1:8080`);
  }
  return raw.replace(/\/+$/, "");
}

/** Calls a mesh through its gateway. */
export class Client {
  readonly server: string;

  constructor(private readonly config: ClientConfig = {}) {
    this.server = serverURL(config.server);
  }

  /**
   * Makes a call of the mesh's own services, with its types.
   *
   *     const { token } = await client.call("POST /user-svc/login", { body: { appHost: "unnamed", slug, password } });
   *
   * @throws MeshError
   */
  async call<K extends Call>(call: K, options: Options<K> = {}): Promise<Answer<K>> {
    const [method, pattern] = call.split(" ") as [string, string];
    const given = (options.path ?? {}) as Record<string, unknown>;
    const path = pattern.replace(/\{(\w+)\}/g, (_, name: string) => {
      if (given[name] === undefined) throw new TypeError(`${call}: the path's ${name} is missing`);
      return encodeURIComponent(String(given[name]));
    });
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(options.query ?? {})) {
      if (value !== undefined) query.set(name, String(value));
    }
    const target = query.size > 0 ? `${path}?${query}` : path;
    return (await this.request(method, target, options)) as Answer<K>;
  }

  /**
   * Makes any request: to services that run beside the mesh's own.
   *
   * @throws MeshError
   */
  async request(method: string, path: string, options: { body?: unknown; token?: string; signal?: AbortSignal; headers?: Record<string, string> | undefined } = {}): Promise<unknown> {
    const answer = await this.send(method, path, options);
    if (!answer.ok) throw await MeshError.from(answer, `${method} ${path}`);
    const text = await answer.text();
    return text === "" ? {} : JSON.parse(text);
  }

  /** Sends a request, and gives its answer, whatever its status. */
  async send(
    method: string,
    path: string,
    options: { body?: unknown; token?: string; signal?: AbortSignal; headers?: Record<string, string> | undefined } = {},
  ): Promise<Response> {
    const headers = new Headers(options.headers);
    if (!headers.has("Mesh-Api-Version")) headers.set("Mesh-Api-Version", "2");
    const token = options.token ?? (await this.config.token?.());
    if (token) headers.set("Authorization", `Bearer ${token}`);
    const init: RequestInit = { method, headers, redirect: "manual" };
    if (options.body !== undefined) {
      headers.set("Content-Type", "application/json");
      init.body = JSON.stringify(options.body);
    }
    const limit = AbortSignal.timeout(this.config.timeout ?? 10_000);
    init.signal = options.signal ? AbortSignal.any([options.signal, limit]) : limit;
    try {
      return await fetch(this.server + path, init);
    } catch (cause) {
      options.signal?.throwIfAborted();
      throw new MeshError(0, "UNREACHABLE", `no mesh answers at ${this.server}: start one with \`micro up\``, [], { cause });
    }
  }
}
