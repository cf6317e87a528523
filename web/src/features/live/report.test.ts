import { expect, test } from "vitest";

import type { StreamEvent } from "../../api/client";
import { eventWords } from "./report";

const event = (change: Partial<StreamEvent>): StreamEvent => ({
  at: "2026-11-23T10:00:00Z",
  relay: null,
  state: "live",
  code: null,
  message: null,
  ...change,
});

const relay = { destinationId: "d", name: "My channel", platform: "youtube", leg: "backup" } as const;

test.each([
  [{}, "Your encoder is sending"],
  [{ state: "ended", code: "encoder_stopped" }, "Ended: you stopped"],
  [
    { state: "notice", code: "clock_drift", message: "The clocks of picture and sound drift apart." },
    "The clocks of picture and sound drift apart.",
  ],
  [{ relay, state: "backoff", message: "It was lost." }, "My channel (backup): retrying. It was lost."],
] satisfies [Partial<StreamEvent>, string][])("%o is described in a sentence", (change, words) => {
  expect(eventWords(event(change))).toBe(words);
});
