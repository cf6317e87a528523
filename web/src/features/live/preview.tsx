import { useEffect, useRef, useState } from "react";

import type { Project } from "../../api/client";
import { codec, seconds } from "../../lib/format";

/** How long after a failure the picture is looked for again. */
const RETRY_MS = 2_000;

/** What viewers see: muted, plays by itself, comes back by itself. */
export function Preview({ project }: { project: Project }) {
  const video = useRef<HTMLVideoElement>(null);
  const [behind, setBehind] = useState<number>();
  const [playing, setPlaying] = useState(false);
  const streamId = project.stream?.id;
  const name = project.stream?.video?.codec;
  const playable = !name || name === "h264";
  // Asking before there is something to fetch would only fail.
  const ready = project.stream?.previewReady ?? false;
  // By its path alone: the page's policy lets it talk to the server that it came from, whatever `public_url` says.
  const url = new URL(project.legacyHlsUrl, window.location.href).pathname;

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
      const hls = new Hls({ liveSyncDurationCount: 2, maxLiveSyncPlaybackRate: 1.5, backBufferLength: 30 });
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
    void start();
    return () => {
      closed = true;
      clearTimeout(timer);
      stop();
      setPlaying(false);
      setBehind(undefined);
    };
  }, [streamId, ready, url]);

  return (
    <figure className="panel overflow-hidden">
      <div className="relative aspect-video bg-black">
        <video
          ref={video}
          className="w-full h-full"
          aria-label="Preview of your stream"
          data-testid="preview"
          autoPlay
          muted
          playsInline
          controls={playing}
          onPlaying={() => setPlaying(true)}
        />
        {!playing && (
          <p className="absolute inset-0 grid place-items-center text-center p-6 text-neutral-300">
            {!project.stream
              ? "Your picture appears here when your encoder sends."
              : playable
                ? "The picture comes in a few seconds."
                : `Your stream goes out fine; this page cannot preview ${codec(name ?? "")}.`}
          </p>
        )}
      </div>
      <figcaption className="px-3 py-1.5 text-muted flex justify-between gap-2">
        <span>What viewers see</span>
        <span>{playing && behind !== undefined ? `${seconds(behind)} behind` : ""}</span>
      </figcaption>
    </figure>
  );
}
