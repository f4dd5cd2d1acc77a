// A first service behind the mesh, with Node alone.
//
//     node hello.mjs              # then: curl http://127.0.0.1:8080/hello-node/hello
//
// Settings: MICRO_SERVER (the gateway, http://127.0.0.1:8080), MICRO_SELF_URL (where the gateway reaches this service;
// http://127.0.0.1 and a free port), SLUG (hello-node). The account's password is made at the first start and kept in
// <slug>.password in the working folder.

import { createHmac, randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";

const server = process.env.MICRO_SERVER || process.env.OB_SERVER_URL || "http://127.0.0.1:8080";
const self = process.env.MICRO_SELF_URL || process.env.OB_SELF_URL;
const slug = process.env.SLUG || "hello-node";

/** Calls the mesh; gives the answer's JSON, or throws what the mesh says. */
async function call(method, path, body, token) {
  const headers = { "Content-Type": "application/json", "Mesh-Api-Version": "2" };
  if (token) headers.Authorization = "Bearer " + token;
  let answer;
  try {
    answer = await fetch(server + path, { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(10_000) });
  } catch (e) {
    throw new Error(`no mesh answers at ${server}: start one with \`micro up\` (${e.cause?.code ?? e.message})`);
  }
  const text = await answer.text();
  const json = text ? JSON.parse(text) : {};
  if (answer.ok) return json;
  throw Object.assign(new Error(`${method} ${path}: ${answer.status}: ${json.error}`), { status: answer.status, details: json.details });
}

let proofKey; // comes with the registration; the program that has it is this service

/** Registers where the service listens. Where another account has the URL, the next try proves that it is ours by now. */
async function register(url, token) {
  for (let tries = 2; ; tries--) {
    try {
      const answer = await call("PUT", "/registry-svc/instance", { url }, token);
      proofKey = answer.proofKey;
      return answer;
    } catch (e) {
      const key = e.details?.find((d) => d.field === "proofKey")?.message;
      if (e.status !== 409 || !key || tries < 2) throw e;
      proofKey = key;
    }
  }
}

/** Signs in with the stored password; at the first start makes one and registers the account. */
async function signIn() {
  const file = slug + ".password";
  if (!existsSync(file)) writeFileSync(file, randomBytes(32).toString("base64url"), { mode: 0o600, flag: "wx", flush: true });
  const account = { appHost: "unnamed", slug, password: readFileSync(file, "utf8").trim() };
  try {
    return (await call("POST", "/user-svc/login", account)).token.token;
  } catch (e) {
    if (e.status !== 401) throw e;
  }
  return (await call("POST", "/user-svc/register", { ...account, name: slug })).token.token;
}

const hello = createServer((request, response) => {
  const nonce = request.headers["mesh-nonce"]; // a health check, which wants a proof
  if (nonce && proofKey) {
    response.setHeader("Mesh-Proof", createHmac("sha256", Buffer.from(proofKey, "hex")).update(`mesh-proof ${nonce}`).digest("hex"));
  }
  const found = new URL(request.url, "http://x").pathname === `/${slug}/hello`;
  // X-User-Slug comes from the gateway, which has verified the caller's token; nobody else can set it.
  const body = found ? { hello: request.headers["x-user-slug"] ?? "world" } : { error: "there is only /hello", code: "NOT_FOUND" };
  response.writeHead(found ? 200 : 404, { "Content-Type": "application/json" }).end(JSON.stringify(body));
});

const port = self ? Number(new URL(self).port || 80) : 0;
hello.listen(port, self ? undefined : "127.0.0.1", async () => {
  const url = self || `http://127.0.0.1:${hello.address().port}`;
  let token;
  const beat = async () => {
    token ??= await signIn();
    try {
      await register(url, token);
    } catch (e) {
      if (e.status === 401) token = undefined; // expired: the next beat signs in
      throw e;
    }
  };
  try {
    await beat();
  } catch (e) {
    console.error(e.message);
    process.exit(1);
  }
  console.log(`serving ${server}/${slug}/hello`);
  setInterval(() => beat().catch((e) => e.status !== 401 && console.error(e.message)), 5_000); // registering again is the heartbeat
});
