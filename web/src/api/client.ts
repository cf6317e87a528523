// The typed client. Its types are generated from the committed OpenAPI document (`npm run generate`).
import createClient from "openapi-fetch";

import { learn } from "../lib/clock";
import type { components, paths } from "./schema.gen";

export type Project = components["schemas"]["Project"];
export type Destination = components["schemas"]["Destination"];
export type Relay = components["schemas"]["Relay"];
export type Stream = components["schemas"]["Stream"];
export type Notice = components["schemas"]["Notice"];
export type StreamEvent = components["schemas"]["StreamEvent"];
export type Outcome = components["schemas"]["Outcome"];
export type Session = components["schemas"]["SessionView"];
export type Token = components["schemas"]["ApiToken"];
export type Video = components["schemas"]["Video"];
export type Platform = components["schemas"]["Platform"];
export type User = components["schemas"]["User"];
export type Probe = components["schemas"]["Probe"];
type ProblemBody = components["schemas"]["Problem"];

/** Counts the logins of this page. */
let logins = 0;

/** From now on requests are made by another login. */
export function beginLogin() {
  logins += 1;
}

/** What the server said when it refused: a sentence for people, a code for programs, and what is wrong with which field. */
export class Problem extends Error {
  readonly status: number;
  readonly code: string;
  readonly fields: Record<string, string>;
  /** The login that made the request. */
  private readonly login: number;

  constructor(status: number, body: Partial<ProblemBody> | undefined, login = logins) {
    super(body?.detail ?? "The server did not answer as expected. Try again in a moment.");
    this.login = login;
    this.status = status;
    this.code = body?.code ?? "unknown";
    this.fields = Object.fromEntries((body?.errors ?? []).map((error) => [error.field, error.message]));
  }

  /** Whether the current login is over. A wrong password is refused with 401, too, and so is a request of an earlier login. */
  get endsLogin(): boolean {
    return this.status === 401 && this.code === "unauthorized" && this.login === logins;
  }
}

export const api = createClient<paths>({ baseUrl: "/", credentials: "same-origin" });

const asked = new Map<string, number>();
api.use({
  onRequest: ({ id }) => {
    asked.set(id, Date.now());
  },
  onResponse: ({ id, response }) => {
    const now = Date.now();
    learn(response.headers.get("date"), asked.get(id) ?? now, now);
    asked.delete(id);
  },
  onError: ({ id }) => {
    asked.delete(id);
  },
});

type Result<T> = { data?: T; error?: unknown; response: Response };

/** The data of an answer, or the problem thrown. A network that is away is a problem, too. */
export async function take<T>(call: Promise<Result<T>>): Promise<T> {
  const login = logins;
  let result: Result<T>;
  try {
    result = await call;
  } catch {
    throw new Problem(0, {
      detail: "The server cannot be reached. Check your connection.",
      code: "unreachable",
    });
  }
  if (!result.response.ok) {
    throw new Problem(result.response.status, result.error as Partial<ProblemBody>, login);
  }
  return result.data as T;
}
