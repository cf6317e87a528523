import { useEffect, useRef, useState } from "react";

import type { Project } from "../../api/client";
import { codec, seconds } from "../../lib/format";
import { usePlayer } from "./player";

/** A common codec string of each codec, to test browser support. */
const usual: Record<string, string> = {
  h264: "avc1.42E01E",
  hevc: "hvc1.1.6.L93.B0",
  av1: "av01.0.04M.08",
};

export function canPlay(name: string | undefined): boolean {
  if (!name) return true;
  const type = usual[name];
  // Tested with an element, because phones with native HLS have no `MediaSource`.
  return (
    type !== undefined && document.createElement("video").canPlayType(`video/mp4; codecs="${type}"`) !== ""
  );
}

/** The preview of the stream. */
export function Preview({ project }: { project: Project }) {
  const video = useRef<HTMLVideoElement>(null);
  const { playing, behind } = usePlayer(video, project);
  const name = project.stream?.video?.codec;
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
        />
        {!playing && (
          <p className="absolute inset-0 grid place-items-center text-center p-6 text-neutral-300">
            {!project.stream
              ? "Your video appears here when your encoder sends."
              : canPlay(name)
                ? "The video starts in a few seconds."
                : `Your stream is fine, but this browser cannot play ${codec(name ?? "")}.`}
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

/** A small preview for lists, without audio and controls. It plays only while visible. */
export function SmallPreview({ project }: { project: Project }) {
  const video = useRef<HTMLVideoElement>(null);
  const [visible, setVisible] = useState(false);
  useEffect(() => {
    const element = video.current;
    if (!element) return;
    const observer = new IntersectionObserver(([entry]) => setVisible(entry?.isIntersecting ?? false));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  usePlayer(video, project, visible);
  return (
    <video
      ref={video}
      className="w-32 aspect-video rounded-lg bg-black shrink-0"
      aria-hidden="true"
      data-testid="small-preview"
      tabIndex={-1}
      autoPlay
      muted
      playsInline
    />
  );
}
