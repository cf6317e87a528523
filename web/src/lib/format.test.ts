import { expect, test } from "vitest";

import { bitrate, clock, codec, duration } from "./format";

test("bitrates change their unit at one megabit", () => {
  expect(bitrate(840)).toBe("840 kbit/s");
  expect(bitrate(6120)).toBe("6.1 Mbit/s");
});

test("times are formatted", () => {
  expect(clock(2_537_000)).toBe("00:42:17");
  expect([duration(20_000), duration(2_520_000), duration(3_900_000)]).toEqual([
    "20 s",
    "42 min",
    "1 h 5 min",
  ]);
});

test("codecs have their usual spelling", () => {
  expect([codec("h264"), codec("av1"), codec("flac")]).toEqual(["H.264", "AV1", "FLAC"]);
});
