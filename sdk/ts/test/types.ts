// What the compiler must take, and what it must not: nothing of this runs.
import { type Answer, type Call, Client } from "../src/index.js";

const client = new Client();

export async function takes(): Promise<string | undefined> {
  const { token } = await client.call("POST /user-svc/login", { body: { appHost: "unnamed", slug: "joe", password: "secret" } });
  const { users } = await client.call("POST /user-svc/users", { body: { limit: 3, order: "desc" } });
  await client.call("PUT /user-svc/user/{userId}", { path: { userId: "u" }, body: { name: "Joe" } });
  await client.call("GET /registry-svc/instances", { query: { slug: "shop-svc" } });
  const call: Call = "DELETE /registry-svc/definition/{id}";
  await client.call(call, { path: { id: "x" } });
  const self: Answer<"POST /user-svc/self"> = await client.call("POST /user-svc/self");
  return token?.token ?? users?.[0]?.slug ?? self.user?.slug;
}

export async function refuses(): Promise<void> {
  // @ts-expect-error there is no such call
  await client.call("POST /user-svc/logon");
  // @ts-expect-error nor with this method
  await client.call("GET /user-svc/login");
  // @ts-expect-error the limit is a number
  await client.call("POST /user-svc/users", { body: { limit: "3" } });
  // @ts-expect-error there is no such field
  await client.call("POST /user-svc/users", { body: { lmit: 3 } });
  // @ts-expect-error there is no such order
  await client.call("POST /user-svc/users", { body: { order: "up" } });
}
