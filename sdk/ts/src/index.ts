/**
 * Services and clients of a Micromesh mesh.
 *
 *     import { Service } from "micromesh";
 *
 *     const svc = await new Service({ slug: "hello-svc" }).open();
 *     await svc.run(
 *       svc.guard((request, caller) => ({ hello: caller?.slug ?? "world" }), { optional: true }),
 *     );
 *
 * @module
 */
export type { components, paths } from "./api.js";
export { type Answer, type Body, type Call, Client, type ClientConfig, type Options } from "./client.js";
export { type Detail, MeshError } from "./errors.js";
export { express, guard, type Guard, type Handler } from "./middleware.js";
export { Service, type ServiceConfig } from "./service.js";
export { type Credentials, Session } from "./session.js";
export { Caller, Verifier } from "./verifier.js";
