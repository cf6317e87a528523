import { useQuery } from "@tanstack/react-query";

import { api, type Outcome, type Stream, type StreamEvent, take } from "../../api/client";
import { Dialog } from "../../components/ui/dialog";
import { Failure } from "../../components/ui/field";
import { relayWord } from "../../components/ui/state";
import { duration, moment, seconds, timeOfDay } from "../../lib/format";

export const endReasons: Record<string, string> = {
  encoder_stopped: "you stopped",
  encoder_lost: "your encoder did not reconnect",
  too_fast: "it exceeded this server's bitrate limit",
  ended_by_owner: "you ended it on this page",
  server_stopped: "the server was stopped",
  server_killed: "the server crashed",
  not_recorded: "the end was not recorded",
};

const streamWords: Record<string, string> = {
  live: "Your encoder is sending",
  reconnecting: "Your encoder disconnected",
  ended: "Ended",
};

const legWord = (leg: string) => (leg === "backup" ? " (backup)" : "");

/** `42 min to 3 platforms`. */
export function summary(stream: Stream): string {
  const length = duration(Date.parse(stream.endedAt ?? "") - Date.parse(stream.startedAt));
  const reached = new Set(
    (stream.outcomes ?? []).filter(({ liveMs }) => liveMs > 0).map((o) => o.destinationId),
  );
  if (reached.size === 0) return length;
  return `${length} to ${reached.size === 1 ? "one platform" : `${reached.size} platforms`}`;
}

/** The outcome of each destination, one line each. */
export function Outcomes({ outcomes }: { outcomes: Outcome[] }) {
  return (
    <ul className="text-muted">
      {outcomes.map((outcome) => (
        <li key={outcome.destinationId + outcome.leg} className="flex gap-2">
          <span aria-hidden="true" className={mark(outcome).colour}>
            {mark(outcome).icon}
          </span>
          <span className="min-w-0">
            {outcome.name || "A deleted destination"}
            {legWord(outcome.leg)}: {words(outcome)}
          </span>
        </li>
      ))}
    </ul>
  );
}

function mark({ liveMs, reconnects, droppedFrames }: Outcome) {
  if (liveMs === 0) return { icon: "✕", colour: "text-bad" };
  if (reconnects > 0 || (droppedFrames ?? 0) > 0) return { icon: "▲", colour: "text-warn" };
  return { icon: "✓", colour: "text-good" };
}

function words({ liveMs, reconnects, droppedFrames, lastMessage }: Outcome): string {
  if (liveMs === 0) return lastMessage ?? "was never live";
  const found = [`${duration(liveMs)} live`];
  if (reconnects > 0) found.push(`reconnected ${reconnects}×`);
  if (droppedFrames) found.push(`${droppedFrames} frames skipped`);
  return found.join(", ");
}

/** The timeline of a stream, with a download. */
export function Report({ id, stream, onClose }: { id: string; stream: Stream; onClose: () => void }) {
  const path = `/api/projects/${id}/streams/${stream.id}`;
  const { data: report, error } = useQuery({
    queryKey: ["report", stream.id],
    queryFn: () =>
      take(api.GET("/api/projects/{id}/streams/{stream}", { params: { path: { id, stream: stream.id } } })),
  });
  return (
    <Dialog title={moment(stream.startedAt)} onClose={onClose}>
      <div className="space-y-4" data-testid="report">
        <p>
          {summary(stream)}
          {stream.endReason && `; ${endReasons[stream.endReason] ?? stream.endReason}`}.
        </p>
        {error && <Failure>{error.message}</Failure>}
        {!report && !error && <div className="skeleton h-32" />}
        {report && (
          <>
            <Outcomes outcomes={report.stream.outcomes ?? []} />
            {report.events.length > 0 ? (
              <table className="w-full text-left">
                <caption className="sr-only">Timeline</caption>
                <tbody>
                  {report.events.map((event, n) => (
                    <tr key={n} className="border-t border-line align-top">
                      <td className="py-1 pr-3 text-muted whitespace-nowrap">{timeOfDay(event.at)}</td>
                      <td className="py-1">{eventWords(event)}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            ) : (
              <p className="text-muted">Details are kept for 30 days.</p>
            )}
            <a className="text-accent underline" href={path} download={`stream-${stream.startedAt}.json`}>
              Download as JSON
            </a>
          </>
        )}
      </div>
    </Dialog>
  );
}

/** One event of the timeline in words. */
export function eventWords({ relay, state, message, code }: StreamEvent): string {
  if (!relay) {
    // A notice is not a state: its message describes a problem of the incoming stream, with advice.
    if (state === "notice") return message ?? `There is a problem with your stream (${code}).`;
    const why = state === "ended" && code ? `: ${endReasons[code] ?? code}` : "";
    return (streamWords[state] ?? state) + why + (message ? `. ${message}` : "");
  }
  const who = `${relay.name || "A deleted destination"}${legWord(relay.leg)}`;
  return `${who}: ${relayWord(state)}${message ? `. ${message}` : ""}`;
}

/** A duration as whole seconds, minutes or hours. */
export function ago(ms: number): string {
  return ms < 60_000 ? seconds(ms / 1000).replace(/[.,]\d/, "") : duration(ms);
}
