import { describe, expect, it, vi } from "vitest";

import { learn, serverNow } from "./clock";

describe("the server's clock", () => {
  it("is the visitor's clock while both nearly agree", () => {
    vi.useFakeTimers({ now: Date.parse("2026-11-23T10:00:00.900Z") });
    learn("Mon, 23 Nov 2026 10:00:00 GMT", Date.now(), Date.now());
    expect(serverNow()).toBe(Date.now());
    learn(null, Date.now(), Date.now());
    learn("nonsense", Date.now(), Date.now());
    expect(serverNow()).toBe(Date.now());
  });

  it("is used when the visitor's clock is wrong", () => {
    vi.useFakeTimers({ now: Date.parse("2026-11-23T10:05:00Z") });
    learn("Mon, 23 Nov 2026 10:00:00 GMT", Date.now() - 100, Date.now());
    expect(serverNow()).toBeCloseTo(Date.parse("2026-11-23T10:00:00.550Z"), -2);
  });
});
