// Runs against the mesh that SETTINGS names: see existing_test.go.
import assert from "node:assert/strict";
import { after, test } from "node:test";

import { Configuration, ProxySvcApi, RegistrySvcApi, UserSvcApi } from "@1backend/client";

const settings = JSON.parse(process.env.SETTINGS);
const apis = { UserSvcApi, RegistrySvcApi, ProxySvcApi };
const called = new Set();

// A client with a token, or without one. It notes its calls. The package sends an apiKey in most calls, but not to refresh or to
// exchange a token.
const as = (token) => {
  const signedIn = token ? { headers: { Authorization: `Bearer ${token}` } } : {};
  const configuration = new Configuration({ basePath: settings.server, ...signedIn });
  return Object.fromEntries(
    Object.entries(apis).map(([name, Api]) => [
      name,
      new Proxy(new Api(configuration), {
        get: (api, call) =>
          typeof api[call] !== "function"
            ? api[call]
            : async (...args) => {
                called.add(`${name}.${String(call)}`);
                try {
                  return await api[call](...args);
                } catch (e) {
                  throw new Error(`${String(call)}: ${e.response ? `${e.response.status} ${await e.response.text()}` : e.stack}`);
                }
              },
      }),
    ]),
  );
};

const nobody = as();
const signIn = async (slug, password) => (await nobody.UserSvcApi.login({ body: { appHost: "unnamed", slug, password } })).token.token;
const register = async (slug) => {
  const { token } = await nobody.UserSvcApi.register({ body: { appHost: "unnamed", slug, name: slug, password: `password-of-${slug}`, device: "unknown" } });
  return token.token;
};
const admin = as(await signIn(settings.slug, settings.password));

test("accounts and tokens", async () => {
  const joe = as(await register("joe"));
  assert.match((await nobody.UserSvcApi.getPublicKey()).publicKey, /BEGIN/);
  assert.equal((await joe.UserSvcApi.readSelf()).user.slug, "joe");
  await joe.UserSvcApi.saveSelf({ body: { name: "Joe", labels: { team: "red" } } });
  const self = await joe.UserSvcApi.readSelf({ body: { countTokens: true } });
  assert.equal(self.user.name, "Joe");
  assert.ok(self.tokenCount > 0);
  assert.ok((await joe.UserSvcApi.refreshToken()).token.token);
  assert.equal((await joe.UserSvcApi.exchangeToken({ body: { newDevice: "watch" } })).token.device, "watch");
  assert.equal((await joe.UserSvcApi.exchangeToken_1({ body: { newDevice: "tablet" } })).token.device, "tablet");
  await joe.UserSvcApi.revokeTokens({ body: { device: "watch" } });
  await joe.UserSvcApi.changePassword({ body: { currentPassword: "password-of-joe", newPassword: "another-password" } });
  await as(await signIn("joe", "another-password")).UserSvcApi.revokeTokens({ body: { allTokens: true } });
  await as(await signIn("joe", "another-password")).UserSvcApi.revokeTokens();
  const sent = await admin.UserSvcApi.sendOtp({ body: { appHost: "unnamed", contactId: "eve@example.com", contactPlatform: "email" } });
  assert.match(sent.code, /^\d{6}$/);
});

test("users", async () => {
  await admin.UserSvcApi.createUser({ body: { user: { id: "", slug: "ann", name: "Ann" }, password: "password-of-ann", roleIds: ["ann:chief"] } });
  const { users, count } = await admin.UserSvcApi.listUsers({ body: { search: "ann", count: true, orderBy: "createdAt", order: "desc" } });
  assert.equal(count, 1);
  const userId = users[0].id;
  await admin.UserSvcApi.saveUser({ userId, body: { name: "Anna" } });
  await admin.UserSvcApi.resetPassword({ userId, body: { newPassword: "another-password" } });
  await signIn("ann", "another-password");
  await admin.UserSvcApi.deleteUser({ userId });
  assert.ok((await admin.UserSvcApi.listUsers()).users.length > 0);
});

test("apps", async () => {
  const { app } = await admin.UserSvcApi.readApp({ body: { host: "shop.example.com" } });
  await admin.UserSvcApi.updateApp({ body: { id: app.id, newHost: "store.example.com" } });
  const { apps } = await admin.UserSvcApi.listApps({ body: { ids: [app.id] } });
  assert.deepEqual(apps, [{ id: app.id, host: "store.example.com" }]);
});

test("organizations", async () => {
  const first = as(await register("owner"));
  const member = as(await register("member"));
  const { user } = await member.UserSvcApi.readSelf();
  const { organization, token } = await first.UserSvcApi.saveOrganization({ body: { slug: "acme", name: "Acme" } });
  const owner = as(token.token);
  assert.equal((await owner.UserSvcApi.readSelf()).activeOrganizationId, organization.id);
  await owner.UserSvcApi.saveMembership({ organizationId: organization.id, userId: user.id, body: {} });
  await owner.UserSvcApi.deleteMembership({ organizationId: organization.id, userId: user.id });
  assert.equal((await owner.UserSvcApi.listOrganizations()).organizations[0].slug, "acme");
});

test("enrolls and permits", async () => {
  const owner = as(await register("shop"));
  const clerk = as(await register("clerk"));
  const { user } = await clerk.UserSvcApi.readSelf();
  const { enrolls } = await owner.UserSvcApi.saveEnrolls({ body: { enrolls: [{ role: "shop:clerk", userId: user.id }] } });
  assert.equal((await owner.UserSvcApi.listEnrolls({ body: { role: "shop:clerk" } })).enrolls[0].id, enrolls[0].id);
  await owner.UserSvcApi.savePermits({ body: { permits: [{ permission: "shop:item:edit", roles: ["shop:clerk"] }, { permission: "shop:item:view", slugs: ["clerk"] }] } });
  assert.equal((await owner.UserSvcApi.listPermits({ body: {} })).permits.length, 2);
  const has = await clerk.UserSvcApi.hasPermission({ permission: "shop:item:view" });
  assert.equal(has.authorized, true);
  assert.equal(has.user.id, user.id);
  assert.deepEqual((await clerk.UserSvcApi.listPermissions({ roleId: "shop:clerk" })).permissions, ["shop:item:view"]);
  await owner.UserSvcApi.deleteEnrolls({ body: { ids: [enrolls[0].id] } });
});

test("the registry", async () => {
  const owner = as(await register("pets"));
  await owner.RegistrySvcApi.registerInstance({ body: { url: settings.instance } });
  const { instances } = await owner.RegistrySvcApi.listInstances({ scheme: "http" });
  assert.equal(instances[0].url, settings.instance);
  await owner.RegistrySvcApi.removeInstance({ id: instances[0].id });
  assert.equal((await owner.RegistrySvcApi.listInstances()).instances.length, 0);
  for (const call of ["echoGet", "echoPut", "echoPost"]) assert.deepEqual(await nobody.RegistrySvcApi[call](), {});
  const { node } = await admin.RegistrySvcApi.selfNode();
  assert.ok((await admin.RegistrySvcApi.listNodes()).nodes.some((n) => n.id === node.id));
  await admin.RegistrySvcApi.deleteNode({ url: node.url });
});

test("routes and certificates", async () => {
  const routes = [{ id: "shop.example.com/a", target: settings.instance }];
  assert.deepEqual((await admin.ProxySvcApi.saveRoutes({ body: { routes } })).routes.map(({ id }) => id), ["shop.example.com/a"]);
  assert.equal((await admin.ProxySvcApi.listRoutes()).routes[0].target, settings.instance);
  await admin.ProxySvcApi.deleteRoutes({ body: { ids: ["shop.example.com/a"] } });
  await admin.ProxySvcApi.saveCerts({ body: { certs: [{ id: "shop.example.com", cert: settings.cert }] } });
  assert.equal((await admin.ProxySvcApi.listCerts()).certs[0].commonName, "shop.example.com");
});

// Calls that this version of the package has beyond the contract.
const beyond = [
  /^UserSvcApi\.(acceptMembership|declineMembership|listMemberships|activateOrganization|deactivateOrganization)$/,
  /^UserSvcApi\.(contactAuth\w+|list(OIDC)?ContactAuthProviders)$/,
  /^UserSvcApi\.(\w*TOTP\w*|\w*ApiKeys?)$/,
  /^ProxySvcApi\.\w+Redirects$/,
];

after(() => {
  const base = new Set(Object.getOwnPropertyNames(Object.getPrototypeOf(UserSvcApi.prototype)));
  for (const [name, Api] of Object.entries(apis)) {
    for (const call of Object.getOwnPropertyNames(Api.prototype)) {
      if (base.has(call) || call.endsWith("Raw") || beyond.some((b) => b.test(`${name}.${call}`))) continue;
      assert.ok(called.has(`${name}.${call}`), `${name}.${call} was not called`);
    }
  }
});
