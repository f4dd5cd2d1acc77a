/** What is wrong with one field of an input. */
export interface Detail {
  field: string;
  rule: string;
  message: string;
}

/**
 * An error that the mesh answered, or that a handler throws to answer it.
 *
 * `status` is the HTTP status, 0 where nobody answered; `code` is in SCREAMING_SNAKE.
 */
export class MeshError extends Error {
  override readonly name = "MeshError";

  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly details: Detail[] = [],
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  /** The mesh's one shape of errors, as an answer. */
  toResponse(): Response {
    const headers: Record<string, string> = this.status === 401 ? { "WWW-Authenticate": 'Bearer realm="micromesh"' } : {};
    return Response.json(this, { status: this.status || 502, headers });
  }

  /** What {@link toResponse} sends. */
  toJSON(): { error: string; code: string; details: Detail[] } {
    return { error: this.message, code: this.code, details: this.details };
  }

  /** Reads an error's answer. */
  static async from(answer: Response, what: string): Promise<MeshError> {
    const text = await answer.text();
    try {
      const { error, code, details } = JSON.parse(text);
      if (typeof error === "string" && typeof code === "string") {
        return new MeshError(answer.status, code, error, details ?? []);
      }
    } catch {
      // It is not the mesh's shape: a proxy's, perhaps.
    }
    return new MeshError(answer.status, "UNKNOWN", `${what}: ${answer.status}`);
  }

  /** Tells whether another try may work: nobody answered, or the mesh is busy or on its way up. */
  get passing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}
