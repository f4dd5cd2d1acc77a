// Runs against the mesh that MICRO_SERVER names, with the admin that ADMIN_SLUG and ADMIN_PASSWORD do: see ../ts_test.go.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { mkdtempSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { Client, express, MeshError, Service, Session } from "../dist/index.js";

const server = process.env.MICRO_SERVER;
const admin = new Session({ slug: process.env.ADMIN_SLUG, password: process.env.ADMIN_PASSWORD });
const folder = mkdtempSync(join(tmpdir(), "sdk-ts-"));

const account = async (slug) => {
  const session = new Session({ slug, password: `password-of-${slug}` });
  await session.register();
  return session;
};

const eventually = async (what, cond) => {
  for (const until = Date.now() + 30_000; !(await cond()); await new Promise((done) => setTimeout(done, 20))) {
    assert.ok(Date.now() < until, `not in time: ${what}`);
  }
};

const open = async (slug, more = {}) => {
  const svc = await new Service({ slug, credentials: join(folder, `${slug}.json`), ...more }).open();
  return svc;
};

const ask = async (method, path, token, body) => {
  const answer = await fetch(server + path, { method, headers: token ? { Authorization: `Bearer ${token}` } : {}, body });
  const text = await answer.text();
  return { status: answer.status, headers: answer.headers, text, json: text.startsWith("{") ? JSON.parse(text) : undefined };
};

test("a client calls the mesh, with its types and its errors", async () => {
  const joe = await account("ts-joe");
  const self = await joe.client.call("POST /user-svc/self");
  assert.equal(self.user.slug, "ts-joe");
  const found = await admin.client.call("POST /user-svc/users", { body: { search: "ts-joe", count: true } });
  assert.equal(found.count, 1);
  const may = await joe.client.call("POST /user-svc/self/has/{permission}", { path: { permission: "ab:c{d}*:e" } });
  assert.equal(may.authorized, false);
  await assert.rejects(joe.client.call("POST /user-svc/users", { body: {} }), { name: "MeshError", status: 403, code: "FORBIDDEN" });
  await assert.rejects(new Client().call("POST /user-svc/self"), { status: 401 });
  await assert.rejects(joe.client.call("DELETE /user-svc/tokens", { body: { all: true } }), { status: 400, code: "VALIDATION_ERROR", message: /did you mean allTokens\?/ });
  const more = new Session({ slug: "ts-more", password: "password-of-ts-more", note: "of the caller's" }); // which the mesh doesn't know
  await more.register();
  more.forget();
  assert.ok(await more.token());
  await assert.rejects(account("ts-joe"), { status: 409 });
  await assert.rejects(account("Bad Slug"), (e) => e instanceof MeshError && e.status === 400 && e.details.some((d) => d.field === "slug"));
  await assert.rejects(new Client({ server: "http://127.0.0.1:1" }).request("GET", "/"), { status: 0, code: "UNREACHABLE" });
  assert.throws(() => new Client({ server: "nowhere" }), /must be a URL/);
});

test("of many who need a token one signs in, and a token that is refused is replaced", async () => {
  const eve = await account("ts-eve");
  eve.forget();
  const tokens = await Promise.all(Array.from({ length: 20 }, () => eve.token()));
  assert.equal(new Set(tokens).size, 1);
  await eve.client.call("DELETE /user-svc/tokens", { body: { allTokens: true } });
  const self = await eve.request("POST", "/user-svc/self");
  assert.equal(self.user.slug, "ts-eve");
});

test("a service answers behind the gateway, and knows its callers", async () => {
  const svc = await open("ts-hello-svc");
  const guarded = svc.guard((_, caller) => ({ by: caller.userId }), { role: "ts-hello-svc:pet:manager" });
  const hello = svc.guard((_, caller) => ({ hello: caller?.slug ?? "world" }), { optional: true });
  const running = svc.run(async (request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/ts-hello-svc/hello") return hello(request);
    if (pathname === "/ts-hello-svc/pet") return guarded(request);
    if (pathname === "/ts-hello-svc/echo") return new Response(request.body, { headers: { "Set-Cookie": "a=b" } });
    if (pathname === "/ts-hello-svc/broken") throw new Error("a secret");
    return new MeshError(404, "NOT_FOUND", "there is no such path").toResponse();
  });
  await eventually("it is reachable", async () => (await ask("GET", "/ts-hello-svc/hello")).status === 200);
  const ann = await account("ts-ann");
  const token = await ann.token();
  assert.deepEqual((await ask("GET", "/ts-hello-svc/hello")).json, { hello: "world" });
  assert.deepEqual((await ask("GET", "/ts-hello-svc/hello", token)).json, { hello: "ts-ann" });
  for (const [slug, status] of [["ts-hello-svc", 403], ["ts-ann", 401]]) {
    const issued = await ann.client.call("POST /user-svc/token/issue", { body: { slug } });
    assert.equal((await ask("GET", "/ts-hello-svc/pet", issued.token)).status, status, `a token for ${slug}`);
  }
  const large = "x".repeat(300_000);
  const echo = await ask("POST", "/ts-hello-svc/echo", undefined, large);
  assert.equal(echo.text, large);
  assert.equal(echo.headers.get("set-cookie"), "a=b");
  assert.equal((await ask("GET", "/ts-hello-svc/nothing")).json.code, "NOT_FOUND");
  const broken = await ask("GET", "/ts-hello-svc/broken");
  assert.equal(broken.status, 500);
  assert.doesNotMatch(broken.text, /secret/);

  const [head, payload, signature] = token.split(".");
  const none = Buffer.from('{"alg":"none"}').toString("base64url");
  for (const bad of [`${head}.${payload}.${signature.slice(0, -6)}AAAAAA`, `${head}.${payload}.`, `${none}.${payload}.`, "x", "a.".repeat(5000)]) {
    assert.equal((await ask("GET", "/ts-hello-svc/pet", bad)).status, 401, bad.slice(0, 40));
  }
  assert.equal((await ask("GET", "/ts-hello-svc/pet")).status, 401);
  assert.equal((await ask("GET", "/ts-hello-svc/pet", token)).status, 403);

  const { user } = await ann.client.call("POST /user-svc/self");
  await svc.call("PUT", "/user-svc/enrolls", { enrolls: [{ role: "ts-hello-svc:pet:manager", userId: user.id }] });
  ann.forget();
  const manager = await ann.token();
  assert.deepEqual((await ask("GET", "/ts-hello-svc/pet", manager)).json, { by: user.id });
  let lost = manager; // so many roles of one owner that a mark takes their place
  for (let i = 0; i < 9; i++) {
    const ids = Array.from({ length: 7 }, (_, j) => `ts-lost-${i}-${j}`);
    await svc.call("PUT", "/user-svc/enrolls", { enrolls: ids.map((id) => ({ id, role: `ts-hello-svc:${id}`.padEnd(128, "x"), userId: user.id })) });
    lost = (await ask("POST", "/user-svc/refresh-token", lost)).json.token.token;
    await svc.call("DELETE", "/user-svc/enrolls", { ids });
  }
  await eventually("all roles of an owner are lost", async () => (await ask("GET", "/ts-hello-svc/pet", lost)).status === 403);
  await ann.client.call("DELETE /user-svc/tokens", { body: { allTokens: true } });
  await eventually("the revoked token is refused", async () => (await ask("GET", "/ts-hello-svc/pet", manager)).status === 401);

  await svc.close();
  await running;
  assert.equal((await ask("GET", "/ts-hello-svc/hello")).status, 503);
});

test("an Express-style middleware, beside plain http", async () => {
  const svc = await open("ts-express-svc");
  const proof = async (nonce) => (await fetch(`${svc.selfURL}/.well-known/mesh-proof`, { headers: { "Mesh-Nonce": nonce } })).headers.get("mesh-proof");
  const guard = express(svc, { role: "ts-express-svc:admin" });
  const running = svc.run((req, res) => guard(req, res, () => res.end(`hello ${req.caller.slug}`)));
  await eventually("it is reachable", async () => (await ask("GET", "/ts-express-svc/x")).status === 401);
  const bob = await account("ts-bob");
  assert.equal((await ask("GET", "/ts-express-svc/x", await bob.token())).status, 403);
  const registered = await admin.client.request("PUT", "/registry-svc/instance", {
    body: { url: svc.selfURL, slug: "ts-express-svc" },
    headers: { "Mesh-Api-Version": "2" },
  });
  assert.equal(await proof("n"), createHmac("sha256", Buffer.from(registered.proofKey, "hex")).update("mesh-proof n").digest("hex"));
  assert.equal((await ask("GET", "/ts-express-svc/x", await admin.token())).text, `hello ${process.env.ADMIN_SLUG}`);
  await svc.close();
  await running;
});

test("the account is the same again, and nobody else's", async () => {
  const file = join(folder, "ts-again-svc.json");
  await open("ts-again-svc");
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const first = readFileSync(file, "utf8");
  await open("ts-again-svc");
  assert.equal(readFileSync(file, "utf8"), first);
  await assert.rejects(open("ts-again-svc", { credentials: join(folder, "other.json") }), { code: "SLUG_TAKEN" });
  assert.throws(() => new Service({ slug: "No Slug" }), /must be 2 to 63/);
});

test("a service waits for a mesh that is away", async () => {
  const said = [];
  let up = false;
  const gate = createServer((_, res) => {
    up = true;
    res.writeHead(503, { "Content-Type": "application/json" }).end('{"error":"on its way up","code":"UNAVAILABLE"}');
  });
  await new Promise((done) => gate.listen(0, "127.0.0.1", done));
  const svc = new Service({ slug: "ts-wait-svc", server: `http://127.0.0.1:${gate.address().port}`, credentials: join(folder, "wait.json"), log: (m) => said.push(m) });
  const opening = svc.open();
  await eventually("it has said so", () => up && said.includes("on its way up"));
  await svc.close();
  await assert.rejects(opening, /closed/);
  gate.close();
});
