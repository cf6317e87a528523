import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { api, type Project } from "../../api/client";
import { ASK_MS, follow } from "./updates";

/** The browser's event stream, as the test wishes it. */
class Stream extends EventTarget {
  static opened: Stream[] = [];
  onerror: (() => void) | null = null;
  closed = false;
  /** Of a stream that the server refuses, `EventSource.CLOSED`. */
  readyState = 1;

  constructor() {
    super();
    Stream.opened.push(this);
  }

  close() {
    this.closed = true;
  }

  /** The server answers, and not with a stream. */
  refuse() {
    this.readyState = 2;
    this.onerror?.();
  }

  say(name: string, project?: Project) {
    if (!this.closed) this.dispatchEvent(new MessageEvent(name, { data: JSON.stringify(project ?? {}) }));
  }
}

const named = (name: string) => ({ id: "p", name }) as unknown as Project;
const shown = {
  name: "",
  away: false,
  heldBack: false,
  gone: false,
  loggedOut: false,
  refused: undefined as string | undefined,
};
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
  Object.assign(shown, {
    name: "",
    away: false,
    heldBack: false,
    gone: false,
    loggedOut: false,
    refused: undefined,
  });
  end = follow("p", {
    project: ({ name }) => Object.assign(shown, { name }),
    away: (away) => Object.assign(shown, { away }),
    heldBack: (heldBack) => Object.assign(shown, { heldBack }),
    refused: (refused) => Object.assign(shown, { refused }),
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

it("uses a stream with heartbeats without polling", async () => {
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

it("polls while a proxy buffers the stream, says so, and returns to the stream", async () => {
  await pass(5_000);
  expect(shown).toMatchObject({ name: "asked", heldBack: true, away: false });
  answer = ok("asked again");
  await pass(ASK_MS);
  expect(shown.name).toBe("asked again");

  // The next attempt gets everything in one block, which may be old, so it is not shown.
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

it("a stream that goes silent is replaced, without blaming a proxy", async () => {
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

it("a server outage is not blamed on a proxy, and the stream is reopened afterwards", async () => {
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

it("a response that an event overtook is not shown", async () => {
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

/** A server that answers for the project and refuses its events, for a while. Counts what it is asked. */
function refuses(status: number, headers: Record<string, string> = {}) {
  const asked = { events: 0, project: 0, streams: 0 };
  class Refused extends Stream {
    constructor() {
      super();
      asked.streams += 1;
      queueMicrotask(() => this.refuse());
    }
  }
  vi.stubGlobal("EventSource", Refused);
  vi.mocked(api.GET).mockImplementation((async (path: string) => {
    if (!path.endsWith("/events")) {
      asked.project += 1;
      return { data: named("asked"), response: new Response() };
    }
    asked.events += 1;
    return { error: { detail: "Close a page." }, response: new Response(null, { status, headers }) };
  }) as never);
  newest().refuse();
  asked.streams += 1;
  return asked;
}

it("refused event streams are retried less and less often, and the page shows the reason", async () => {
  const asked = refuses(403);
  await pass(60_000);
  expect(shown).toMatchObject({ name: "asked", refused: "Close a page.", heldBack: false, away: false });
  // At 0, 10 and 30 s; the project every 3 s.
  expect(asked).toEqual({ streams: 3, events: 3, project: 21 });
  await pass(3_600_000);
  expect(asked.streams).toBeLessThan(20);
  expect(asked.streams).toBeGreaterThan(14);

  vi.stubGlobal("EventSource", Stream);
  const before = Stream.opened.length;
  while (Stream.opened.length === before) await pass(1_000);
  newest().say("snapshot", named("old"));
  await pass(5_000);
  newest().say("heartbeat");
  newest().say("status", named("from the stream"));
  expect(shown).toMatchObject({ name: "from the stream", refused: undefined, heldBack: false });
});

it("an event stream is not retried before its Retry-After", async () => {
  const asked = refuses(503, { "retry-after": "45" });
  await pass(44_000);
  expect(asked).toMatchObject({ streams: 1, events: 1 });
  expect(shown).toMatchObject({ name: "asked", refused: "Close a page.", heldBack: false });
  await pass(5_000);
  expect(asked).toMatchObject({ streams: 2, events: 2 });
});

it("a project is not polled before its Retry-After", async () => {
  const busy = { response: new Response(null, { status: 503, headers: { "retry-after": "20" } }) };
  answer = async () => busy;
  newest().onerror?.();
  await pass(19_000);
  expect(api.GET).toHaveBeenCalledTimes(1);
  await pass(2_000);
  expect(api.GET).toHaveBeenCalledTimes(2);
});

it("repeatedly broken event streams are retried less and less often, without blaming a proxy", async () => {
  for (let spent = 0; spent < 60_000; spent += 500) {
    if (!newest().closed) {
      newest().say("snapshot", named("asked"));
      await pass(1_100);
      spent += 1_100;
      newest().say("heartbeat");
      newest().onerror?.();
    }
    await pass(500);
    expect(shown).toMatchObject({ heldBack: false, refused: undefined });
  }
  expect(Stream.opened.length).toBeLessThan(10);
  expect(Stream.opened.length).toBeGreaterThan(4);
});
