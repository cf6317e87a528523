import { useMutation } from "@tanstack/react-query";
import type { ReactNode } from "react";

import { api, type Notice, type Platform, type Project, take } from "../../api/client";
import { Button } from "../../components/ui/button";
import { isOn } from "../../components/ui/state";
import { bitrate, codec, frameRate, seconds } from "../../lib/format";
import { warnings } from "../../lib/limits";
import { endsStream, useNow } from "./follow";

/** The incoming stream: its properties and warnings. */
export function Incoming({ project, platforms }: { project: Project; platforms: Platform[] }) {
  const { stream } = project;
  if (!stream) return null;
  const { video, audio } = stream;
  const facts = [
    video?.width && video.height && `${video.width}×${video.height}`,
    video?.fps && frameRate(video.fps),
    video && codec(video.codec),
    video && bitrate(video.kbps),
    video?.keyframeSeconds && `keyframe every ${seconds(video.keyframeSeconds)}`,
    audio &&
      `${codec(audio.codec)}${audio.sampleRate ? ` ${audio.sampleRate / 1000} kHz` : ""}, ${bitrate(audio.kbps)}`,
  ].filter(Boolean);
  const found = warnings(video, project.destinations ?? [], platforms);
  return (
    <section className="panel p-4 space-y-2" aria-label="Incoming stream">
      <p data-testid="incoming">
        <span className="font-medium">Incoming </span>
        {facts.length > 0 ? facts.join(" · ") : "Analysing your stream…"}
      </p>
      {stream && !audio && video && (
        <p className="text-muted">There is no audio. Some platforms refuse a stream without it.</p>
      )}
      {found.map((sentence) => (
        <Warning key={sentence}>{sentence}</Warning>
      ))}
      {stream.notices.filter(isIncoming).map(({ code, message }) => (
        <Warning key={code} testId="notice">
          {message}
        </Warning>
      ))}
    </section>
  );
}

/** The uplink notice is shown with the destinations, not with the incoming stream. */
const isIncoming = ({ code }: Notice) => code !== uplink;

const uplink = "uplink_too_small";

/** The notice that most destinations fall behind together. */
export function Uplink({ project }: { project: Project }) {
  const notice = project.stream?.notices.find(({ code }) => code === uplink);
  if (!notice) return null;
  return (
    <p role="alert" className="bg-bad-soft text-bad rounded-lg px-4 py-3" data-testid="uplink">
      <span aria-hidden="true">▲ </span>
      {notice.message}
    </p>
  );
}

function Warning({ testId, children }: { testId?: string; children: ReactNode }) {
  return (
    <p className="bg-warn-soft text-warn rounded-lg px-3 py-2" data-testid={testId}>
      <span aria-hidden="true">▲ </span>
      {children}
    </p>
  );
}

/** The encoder has ended, and destinations with a delay get the rest: the remaining time, and a button to end now. */
export function Rest({ project, until }: { project: Project; until: number }) {
  const left = useSecondsTo(until);
  return (
    <div role="status" className={`panel ${ROW}`} data-testid="rest">
      <p>Your encoder has stopped. Destinations with a delay get the rest for another {left} s.</p>
      <EndNow project={project} />
    </div>
  );
}

/** The encoder disconnected: the remaining grace time, and a button to end now. */
export function Reconnecting({ project, until }: { project: Project; until: number }) {
  const left = useSecondsTo(until);
  const on = (project.destinations ?? []).filter(({ relay }) => isOn(relay)).length;
  return (
    <div role="status" className={`bg-warn-soft text-warn rounded-lg ${ROW}`}>
      <p data-testid="reconnecting">
        <span aria-hidden="true">▲ </span>
        Your encoder disconnected.{" "}
        {on > 0
          ? `${on === 1 ? "One platform stays" : `${on} platforms stay`} connected`
          : "The stream is kept open"}
        {Number.isFinite(until) ? ` for another ${left} s` : ""}. Start streaming again to continue.
      </p>
      <EndNow project={project} />
    </div>
  );
}

/** Layout of a message with a button. */
const ROW = "px-4 py-3 flex flex-wrap items-center gap-3 justify-between";

const useSecondsTo = (moment: number) => Math.max(0, Math.ceil((moment - useNow()) / 1000));

function EndNow({ project }: { project: Project }) {
  const end = useMutation({
    mutationKey: endsStream(project.id),
    mutationFn: () =>
      take(api.POST("/api/projects/{id}/stream/end", { params: { path: { id: project.id } } })),
  });
  return (
    <Button look="danger" onClick={() => end.mutate()} busy={end.isPending && "Ending…"}>
      End now
    </Button>
  );
}
