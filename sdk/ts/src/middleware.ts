import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { Readable } from "node:stream";

import { MeshError } from "./errors.js";
import type { Caller } from "./verifier.js";

/** Who may ask. */
export interface Guard {
  /** A role that callers must have. */
  role?: string;
  /** Whether callers need not be signed in: then `caller` may be undefined. */
  optional?: boolean;
}

/** A fetch-style handler that is told who calls. What it gives that is no Response is sent as JSON. */
export type Handler = (request: Request, caller: Caller) => unknown;

/** What verifies requests: a Service. */
export interface Verifying {
  verify(request: Request | IncomingMessage): Promise<Caller>;
}

async function admit(by: Verifying, request: Request | IncomingMessage, authorization: string | null | undefined, who: Guard): Promise<Caller | undefined> {
  if (who.optional && !who.role && !authorization) return undefined;
  const caller = await by.verify(request);
  if (who.role && !caller.hasRole(who.role)) throw new MeshError(403, "FORBIDDEN", `this takes the role ${who.role}`);
  return caller;
}

/** Puts a guard in front of a fetch-style handler. Errors become answers. */
export function guard(by: Verifying, handler: Handler, who: Guard = {}): (request: Request) => Promise<Response> {
  return async (request) => {
    try {
      const caller = await admit(by, request, request.headers.get("authorization"), who);
      const answer = await handler(request, caller as Caller);
      return answer instanceof Response ? answer : Response.json(answer ?? {});
    } catch (e) {
      return failure(e);
    }
  };
}

/**
 * A middleware for Express, and whatever calls (req, res, next): it puts the caller into `req.caller`, or answers 401 or 403.
 *
 *     app.put("/shop-svc/pet", express(service, { role: "shop-svc:pet:manager" }), savePet);
 */
export function express(
  by: Verifying,
  who: Guard = {},
): (req: IncomingMessage & { caller?: Caller }, res: ServerResponse, next: (e?: unknown) => void) => Promise<void> {
  return async (req, res, next) => {
    try {
      const caller = await admit(by, req, req.headers.authorization, who);
      if (caller) req.caller = caller;
    } catch (e) {
      await reply(res, failure(e));
      return;
    }
    next();
  };
}

function failure(e: unknown): Response {
  if (e instanceof MeshError) return e.toResponse();
  console.error(e);
  return new MeshError(500, "INTERNAL", "something went wrong on our side").toResponse();
}

/** Makes a listener of node's http of a fetch-style handler. */
export function listener(handler: (request: Request) => Response | Promise<Response>, log: (message: string) => void): RequestListener {
  return async (req, res) => {
    let answer: Response;
    try {
      answer = await handler(toRequest(req));
    } catch (e) {
      answer = failure(e);
    }
    await reply(res, answer).catch((e: Error) => log(`${req.method} ${req.url?.split("?")[0]}: ${e.message}`)); // the client has gone
  };
}

function toRequest(req: IncomingMessage): Request {
  const headers = new Headers();
  for (let i = 0; i + 1 < req.rawHeaders.length; i += 2) headers.append(req.rawHeaders[i] as string, req.rawHeaders[i + 1] as string);
  const method = req.method ?? "GET";
  const init: RequestInit & { duplex?: "half" } = { method, headers };
  if (method !== "GET" && method !== "HEAD") {
    init.body = Readable.toWeb(req) as ReadableStream<Uint8Array>;
    init.duplex = "half";
  }
  return new Request(new URL(req.url ?? "/", `http://${req.headers.host ?? "localhost"}`), init);
}

async function reply(res: ServerResponse, answer: Response): Promise<void> {
  res.statusCode = answer.status;
  answer.headers.forEach((value, name) => {
    if (name !== "set-cookie") res.setHeader(name, value);
  });
  const cookies = answer.headers.getSetCookie();
  if (cookies.length > 0) res.setHeader("set-cookie", cookies);
  if (!answer.body) {
    res.end();
    return;
  }
  for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) {
    if (!res.write(chunk)) {
      await new Promise<void>((done, failed) => {
        res.once("drain", done).once("close", () => failed(new Error("the client has gone")));
      });
    }
  }
  res.end();
}
