import { afterEach, describe, expect, it, vi } from "vitest";

import { canPlay } from "./preview";

afterEach(() => vi.restoreAllMocks());

describe("whether the preview can play a codec", () => {
  it("is tested with a video element, which every browser has", () => {
    expect("MediaSource" in window).toBe(false);
    const asked = vi
      .spyOn(HTMLMediaElement.prototype, "canPlayType")
      .mockImplementation((type) => (type.includes("avc1") ? "probably" : ""));
    expect(canPlay("h264")).toBe(true);
    expect(canPlay("hevc")).toBe(false);
    expect(asked).toHaveBeenCalledTimes(2);
  });

  it("is false for unknown codecs, and true until the codec is known", () => {
    expect(canPlay("vp8")).toBe(false);
    expect(canPlay(undefined)).toBe(true);
  });
});
