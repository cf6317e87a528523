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

/** Number of logins on this page. */
let logins = 0;

/** Marks all later requests as those of another login. */
export function beginLogin() {
  logins += 1;
}

/** A refusal by the server: a message for users, a code for programs, and the errors of each field. */
export class Problem extends Error {
  readonly status: number;
  readonly code: string;
  readonly fields: Record<string, string>;
  /** The login that made the request. */
  private readonly login: number;

  constructor(status: number, body: Partial<ProblemBody> | undefined, login = logins) {
    super(body?.detail ?? "The server sent an unexpected response. Try again in a moment.");
    this.login = login;
    this.status = status;
    this.code = body?.code ?? "unknown";
    this.fields = Object.fromEntries((body?.errors ?? []).map((error) => [error.field, error.message]));
  }

  /** Whether the current session has ended. A wrong password, or a request of an earlier login, is a 401 as well. */
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

/** Returns the data of a response, or throws a problem, also for a network failure. */
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
