import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { api, type Project } from "../../api/client";
import { ASK_MS, follow } from "./updates";

/** The browser's event stream, as the test wishes it. */
class Stream extends EventTarget {
  static opened: Stream[] = [];
  onerror: (() => void) | null = null;
  closed = false;

  constructor() {
    super();
    Stream.opened.push(this);
  }

  close() {
    this.closed = true;
  }

  say(name: string, project?: Project) {
    if (!this.closed) this.dispatchEvent(new MessageEvent(name, { data: JSON.stringify(project ?? {}) }));
  }
}

const named = (name: string) => ({ id: "p", name }) as unknown as Project;
const shown = { name: "", away: false, heldBack: false, gone: false, loggedOut: false };
/** What the server answers to a question. */
let answer: () => Promise<unknown>;
const ok = (name: string) => async () => ({ data: named(name), response: new Response() });
const refused = (status: number) => async () => ({ response: new Response(null, { status }) });
const newest = () => Stream.opened.at(-1) as Stream;
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
/** Until that many streams were opened. */
const streams = async (count: number) => {
  for (let tick = 0; Stream.opened.length < count && tick < 400; tick += 1) await pass(100);
  expect(Stream.opened).toHaveLength(count);
};
let end: () => void;

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("EventSource", Stream);
  Stream.opened = [];
  answer = ok("asked");
  vi.spyOn(api, "GET").mockImplementation((() => answer()) as never);
  Object.assign(shown, { name: "", away: false, heldBack: false, gone: false, loggedOut: false });
  end = follow("p", {
    project: ({ name }) => Object.assign(shown, { name }),
    away: (away) => Object.assign(shown, { away }),
    heldBack: (heldBack) => Object.assign(shown, { heldBack }),
    gone: () => Object.assign(shown, { gone: true }),
    loggedOut: () => Object.assign(shown, { loggedOut: true }),
  });
});

afterEach(() => {
  end();
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

it("believes a stream that has heartbeats, and asks nothing", async () => {
  newest().say("snapshot", named("first"));
  for (let beat = 0; beat < 20; beat += 1) {
    await pass(5_000);
    newest().say("heartbeat");
  }
  newest().say("status", named("second"));
  expect(shown).toMatchObject({ name: "second", away: false, heldBack: false });
  expect(api.GET).not.toHaveBeenCalled();
  expect(Stream.opened).toHaveLength(1);
});

it("asks every few seconds while a proxy holds the stream back, says so, and returns when it flows", async () => {
  await pass(5_000);
  expect(shown).toMatchObject({ name: "asked", heldBack: true, away: false });
  answer = ok("asked again");
  await pass(ASK_MS);
  expect(shown.name).toBe("asked again");

  // The next attempt gets everything in one block, which may be old: it is not shown.
  await streams(2);
  newest().say("snapshot", named("old"));
  newest().say("status", named("older than it looks"));
  await pass(11_000);
  expect(shown).toMatchObject({ name: "asked again", heldBack: true });
  expect(newest().closed).toBe(true);

  await streams(3);
  newest().say("snapshot", named("new"));
  expect(shown.heldBack).toBe(true);
  await pass(5_000);
  answer = ok("asked for the last time");
  newest().say("heartbeat");
  await pass(0);
  expect(shown).toMatchObject({ name: "asked for the last time", heldBack: false });
  const questions = vi.mocked(api.GET).mock.calls.length;
  newest().say("status", named("from the stream"));
  await pass(10_000);
  expect(shown.name).toBe("from the stream");
  expect(api.GET).toHaveBeenCalledTimes(questions);
});

it("a stream that goes silent is replaced, without a word about proxies", async () => {
  newest().say("snapshot", named("first"));
  await pass(5_000);
  newest().say("heartbeat");
  await pass(11_000);
  expect(shown).toMatchObject({ name: "asked", heldBack: false });
  expect(Stream.opened).toHaveLength(2);
  newest().say("snapshot", named("asked"));
  await pass(5_000);
  newest().say("heartbeat");
  expect(shown).toMatchObject({ heldBack: false, away: false });
});

it("a server that is away is not called a proxy, and is followed again when it is back", async () => {
  answer = () => Promise.reject(new TypeError("no network"));
  newest().onerror?.();
  await pass(0);
  expect(shown).toMatchObject({ away: true, heldBack: false });
  answer = refused(503);
  await pass(ASK_MS);
  expect(shown).toMatchObject({ away: true, heldBack: false });
  answer = ok("back");
  await pass(ASK_MS);
  expect(shown).toMatchObject({ name: "back", away: false, heldBack: false });
  expect(Stream.opened).toHaveLength(2);
});

it("an answer that an event overtook is not shown", async () => {
  newest().say("snapshot", named("first"));
  await pass(5_000);
  newest().say("heartbeat");
  newest().onerror?.();
  await pass(0);
  newest().say("snapshot", named("asked"));
  await pass(2_000);
  let late: (result: unknown) => void = () => undefined;
  answer = () => new Promise((resolve) => (late = resolve));
  newest().say("heartbeat");
  newest().say("status", named("from the stream"));
  late({ data: named("before the event"), response: new Response() });
  await pass(0);
  expect(shown.name).toBe("from the stream");
});

it.each([
  [404, { gone: true }],
  [401, { loggedOut: true }],
])("ends with %i", async (status, expected) => {
  answer = refused(status);
  newest().onerror?.();
  await pass(100_000);
  expect(shown).toMatchObject(expected);
  expect(api.GET).toHaveBeenCalledTimes(1);
  expect(Stream.opened).toHaveLength(1);
});
