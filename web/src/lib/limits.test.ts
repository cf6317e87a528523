import { expect, test } from "vitest";

import type { Destination, Platform, Video } from "../api/client";
import { warnings } from "./limits";

const video: Video = { codec: "h264", width: 1920, height: 1080, fps: 60, kbps: 6000, keyframeSeconds: 2 };
const limits = { videoKbps: 6000, audioKbps: 160, keyframeSeconds: 2, fps: 60, resolution: "1920x1080" };
const twitch = {
  id: "twitch",
  name: "Twitch",
  servers: [],
  keyUrl: null,
  audioCodecs: ["aac"],
  videoCodecs: ["h264"],
  limits,
} as Platform;
const to = (enabled = true) => ({ platform: "twitch", enabled }) as Destination;

test("a stream within the limits gives no warning", () => {
  expect(warnings({ ...video, kbps: 6500 }, [to()], [twitch])).toEqual([]);
  expect(warnings(null, [to()], [twitch])).toEqual([]);
});

test.each([
  [{ kbps: 9200 }, "Twitch accepts up to 6000 kbit/s, you send 9200"],
  [{ keyframeSeconds: 8 }, "Twitch requires a keyframe every 2.0 s, you send one every 8.0 s"],
  [{ width: 3840, height: 2160 }, "Twitch accepts up to 1920×1080, you send 3840×2160"],
  [{ fps: 120 }, "Twitch accepts up to 60 frames per second, you send 120"],
  [{ codec: "hevc" }, "Twitch does not accept HEVC"],
])("%o is named with its limit", (change, sentence) => {
  const found = warnings({ ...video, ...change }, [to(), to()], [twitch]);
  expect(found).toHaveLength(1);
  expect(found[0]).toContain(sentence);
});

test("a stopped destination gives no warning", () => {
  expect(warnings({ ...video, kbps: 9200 }, [to(false)], [twitch])).toEqual([]);
});
