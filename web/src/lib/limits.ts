// Compares the incoming stream with the limits of the platforms: warnings before a platform refuses.
import type { Destination, Platform, Video } from "../api/client";
import { codec, seconds } from "./format";

/** Warnings with the platform, the limit and advice. */
export function warnings(
  video: Video | null | undefined,
  destinations: Destination[],
  platforms: Platform[],
): string[] {
  if (!video) return [];
  const found: string[] = [];
  const seen = new Set<string>();
  for (const destination of destinations) {
    if (!destination.enabled || seen.has(destination.platform)) continue;
    const platform = platforms.find((candidate) => candidate.id === destination.platform);
    if (!platform) continue;
    seen.add(destination.platform);
    found.push(...against(platform, video));
  }
  return found;
}

function against(platform: Platform, video: Video): string[] {
  const { limits, name } = platform;
  const found: string[] = [];
  // Bitrates vary; slightly above the limit is fine.
  if (limits.videoKbps && video.kbps > limits.videoKbps * 1.1) {
    found.push(
      `${name} accepts up to ${limits.videoKbps} kbit/s, you send ${video.kbps}. Lower the bitrate in OBS ▸ Settings ▸ Output.`,
    );
  }
  if (
    limits.keyframeSeconds &&
    video.keyframeSeconds &&
    video.keyframeSeconds > limits.keyframeSeconds * 1.25
  ) {
    found.push(
      `${name} requires a keyframe every ${seconds(limits.keyframeSeconds)}, you send one every ${seconds(video.keyframeSeconds)}. Set the keyframe interval in OBS ▸ Settings ▸ Output.`,
    );
  }
  const [width, height] = (limits.resolution ?? "").split("x").map(Number);
  if (width && height && video.width && video.height && video.width * video.height > width * height) {
    found.push(
      `${name} accepts up to ${width}×${height}, you send ${video.width}×${video.height}. Lower it in OBS ▸ Settings ▸ Video.`,
    );
  }
  if (limits.fps && video.fps && video.fps > limits.fps * 1.05) {
    found.push(
      `${name} accepts up to ${limits.fps} frames per second, you send ${Math.round(video.fps)}. Lower it in OBS ▸ Settings ▸ Video.`,
    );
  }
  if (platform.videoCodecs.length > 0 && !platform.videoCodecs.includes(video.codec)) {
    found.push(
      `${name} does not accept ${codec(video.codec)}. Choose another encoder in OBS ▸ Settings ▸ Output.`,
    );
  }
  return found;
}
