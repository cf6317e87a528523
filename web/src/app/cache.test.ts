import { MutationObserver, QueryObserver } from "@tanstack/react-query";
import { beforeEach, expect, it } from "vitest";

import { take, type User } from "../api/client";
import { sessionQuery } from "../features/session/session";
import { makeCache } from "./cache";

const user = (id: string) => ({ id, email: `${id}@example.org` }) as User;
const refused = async (code = "unauthorized") => {
  const error = { code, detail: "No.", status: 401 };
  return { error, response: new Response(null, { status: 401 }) };
};
const session = () => cache.getQueryData(sessionQuery.queryKey);
const logIn = (id: string) => cache.setQueryData(sessionQuery.queryKey, user(id));
let cache: ReturnType<typeof makeCache>;

/** A query of a page. */
const ask = (answer: () => Promise<unknown>) =>
  cache.fetchQuery({ queryKey: ["projects"], queryFn: () => take(answer() as never), staleTime: 0 });
/** A click. */
const change = (answer: () => Promise<unknown>) =>
  new MutationObserver(cache, { mutationFn: () => take(answer() as never) }).mutate();
/** An answer that comes when the test wishes. */
function later() {
  let [begin, come]: ((answer?: unknown) => void)[] = [];
  const begun = new Promise<unknown>((resolve) => (begin = resolve));
  const coming = new Promise<unknown>((resolve) => (come = resolve));
  const answer = () => {
    begin?.();
    return coming;
  };
  return { answer, begun, come: (answer: unknown) => come?.(answer) };
}

beforeEach(() => {
  cache = makeCache();
  logIn("one");
});

it("a query that is refused because of its session ends the session", async () => {
  await expect(ask(refused)).rejects.toThrow("No.");
  expect(session()).toBeNull();
});

it("a mutation that is refused because of its session ends the session", async () => {
  await expect(change(refused)).rejects.toThrow("No.");
  expect(session()).toBeNull();
});

it("an old refusal in the cache does not end a new session", async () => {
  await expect(ask(refused)).rejects.toThrow("No.");
  logIn("one");
  // The page uses the query again, with the old refusal in the cache.
  const options = { queryKey: ["projects"], enabled: false };
  const stop = new QueryObserver(cache, options).subscribe(() => undefined);
  expect(cache.getQueryState(["projects"])?.error?.message).toBe("No.");
  expect(session()).toEqual(user("one"));
  stop();
});

it("a late refusal of an earlier session does not end the new one", async () => {
  const [query, mutation] = [later(), later()];
  const answers = Promise.allSettled([ask(query.answer), change(mutation.answer)]);
  await Promise.all([query.begun, mutation.begun]);
  cache.setQueryData(sessionQuery.queryKey, null);
  logIn("two");
  query.come(refused());
  mutation.come(refused());
  expect((await answers).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(session()).toEqual(user("two"));
});

it("a wrong password, at login or for a change, does not end the session", async () => {
  await expect(change(() => refused("invalid_credentials"))).rejects.toThrow("No.");
  expect(session()).toEqual(user("one"));
});

it("other refusals do not end the session", async () => {
  const forbidden = async () => ({ ...(await refused()), response: new Response(null, { status: 403 }) });
  await expect(ask(forbidden)).rejects.toThrow("No.");
  expect(session()).toEqual(user("one"));
});
