// Plays a live stream in a <video>: muted, automatically, and again when the stream returns.
import { type RefObject, useEffect, useState } from "react";

import type { Project } from "../../api/client";

/** Pause before a retry after a failure. */
const RETRY_MS = 2_000;

/** Plays the project's stream in the element while it is live. `behind` is the latency in seconds. */
export function usePlayer(video: RefObject<HTMLVideoElement | null>, project: Project, wanted = true) {
  const [behind, setBehind] = useState<number>();
  const [playing, setPlaying] = useState(false);
  const streamId = project.stream?.id;
  // Earlier requests would fail.
  const ready = wanted && (project.stream?.previewReady ?? false);
  // Only the path: the page's policy allows only its own server, whatever `public_url` is.
  const url = new URL(project.previewUrl, window.location.href).pathname;

  useEffect(() => {
    const element = video.current;
    if (!element || !streamId || !ready) return;
    let stop = () => {};
    let closed = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const start = async () => {
      const { default: Hls } = await import("hls.js/light");
      if (closed) return;
      if (!Hls.isSupported()) {
        element.src = url;
        return;
      }
      // Low latency is the default; playback catches up slightly faster than real time.
      const hls = new Hls({ maxLiveSyncPlaybackRate: 1.2, backBufferLength: 30 });
      stop = () => hls.destroy();
      hls.on(Hls.Events.ERROR, (_, { fatal }) => {
        if (!fatal) return;
        hls.destroy();
        timer = setTimeout(start, RETRY_MS);
      });
      hls.on(Hls.Events.FRAG_CHANGED, () => setBehind(hls.latency));
      hls.loadSource(url);
      hls.attachMedia(element);
    };
    const onPlaying = () => setPlaying(true);
    element.addEventListener("playing", onPlaying);
    void start();
    return () => {
      closed = true;
      clearTimeout(timer);
      element.removeEventListener("playing", onPlaying);
      stop();
      setPlaying(false);
      setBehind(undefined);
    };
  }, [video, streamId, ready, url]);

  return { playing, behind };
}
