import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import {
  api,
  type Destination,
  type Platform,
  type Probe,
  type Project,
  type Relay,
  take,
} from "../../api/client";
import { Button } from "../../components/ui/button";
import { Dialog } from "../../components/ui/dialog";
import { Failure } from "../../components/ui/field";
import { isOn, RelayState } from "../../components/ui/state";
import { bitrate, clock, seconds } from "../../lib/format";
import { projectQuery, useNow } from "../live/follow";
import { Editor } from "./editor";
import { Mark } from "./mark";

/** A smaller lag is not shown. */
const BEHIND_MS = 1_500;

type Props = { destination: Destination; project: Project; platforms: Platform[] };

/** A destination with its state and its actions. */
export function DestinationCard({ destination, project, platforms }: Props) {
  const [open, setOpen] = useState<"edit" | "test" | "delete">();
  const cache = useQueryClient();
  const { id, relay, backupRelay, enabled } = destination;
  const platform = platforms.find(
    (candidate) => candidate.id === destination.platform && candidate.id !== "custom",
  );
  const act = useMutation({
    mutationFn: (verb: "start" | "stop" | "retry") => relayVerb(id, verb),
    onSuccess: () => cache.invalidateQueries(projectQuery(project.id)),
  });
  const waits = [relay, backupRelay].some((each) => each?.state === "backoff" || each?.state === "rejected");
  const settling = act.isPending || (Boolean(project.stream) && enabled && relay.state === "off");
  return (
    <li className="panel p-4 space-y-2" data-testid="destination">
      <div className="flex items-start gap-3">
        <Mark name={platform?.name ?? destination.name} />
        <div className="flex-1 min-w-0">
          <div className="flex flex-wrap justify-between gap-x-3">
            <h3 className="font-semibold truncate">
              {platform ? `${platform.name} · ` : ""}
              {destination.name}
            </h3>
            <span aria-live="polite">
              <RelayState relay={relay} />
            </span>
          </div>
          <Facts relay={relay} destination={destination} live={Boolean(project.stream)} />
          {backupRelay && enabled && (
            <div className="flex flex-wrap gap-x-3" data-testid="backup">
              <span className="text-muted">Backup server:</span>
              <RelayState relay={backupRelay} />
              <Facts relay={backupRelay} destination={destination} live={Boolean(project.stream)} />
            </div>
          )}
        </div>
      </div>
      <Trouble relay={relay} platform={platform} />
      {backupRelay && <Trouble relay={backupRelay} platform={platform} />}
      {act.error && <Failure>{act.error.message}</Failure>}
      <div className="flex flex-wrap justify-end gap-2">
        {waits && <Button onClick={() => act.mutate("retry")}>Retry now</Button>}
        {enabled ? (
          <Button
            onClick={() => act.mutate("stop")}
            busy={act.isPending && act.variables === "stop" && "Stopping…"}
          >
            Stop
          </Button>
        ) : (
          <Button look="primary" onClick={() => act.mutate("start")} busy={settling && "Starting…"}>
            Start
          </Button>
        )}
        <Button look="quiet" onClick={() => setOpen("test")}>
          Test
        </Button>
        <Button look="quiet" onClick={() => setOpen("edit")}>
          Edit
        </Button>
        <Button look="quiet" onClick={() => setOpen("delete")}>
          Delete
        </Button>
      </div>
      {open === "edit" && (
        <Dialog title={`Edit ${destination.name}`} onClose={() => setOpen(undefined)}>
          <Editor
            project={project}
            platforms={platforms}
            destination={destination}
            onDone={() => setOpen(undefined)}
          />
        </Dialog>
      )}
      {open === "test" && <Test destination={destination} onClose={() => setOpen(undefined)} />}
      {open === "delete" && (
        <Delete destination={destination} project={project} onClose={() => setOpen(undefined)} />
      )}
    </li>
  );
}

function relayVerb(id: string, verb: "start" | "stop" | "retry") {
  const params = { params: { path: { id } } };
  if (verb === "start") return take(api.POST("/api/destinations/{id}/relay/start", params));
  if (verb === "stop") return take(api.POST("/api/destinations/{id}/relay/stop", params));
  return take(api.POST("/api/destinations/{id}/relay/retry", params));
}

/** The error of a relay with advice, unless the relay is off or live. */
function Trouble({ relay, platform }: { relay: Relay; platform: Platform | undefined }) {
  if (!relay.lastError || relay.state === "off" || relay.state === "live") return null;
  return (
    <p
      className={`rounded-lg px-3 py-2 ${relay.state === "rejected" ? "bg-bad-soft text-bad" : "bg-warn-soft text-warn"}`}
    >
      {relay.lastError.message}
      {platform?.keyUrl && relay.lastError.code === "key_rejected" && (
        <>
          {" "}
          <a href={platform.keyUrl} target="_blank" rel="noreferrer" className="underline">
            Open {platform.name}
          </a>
        </>
      )}
    </p>
  );
}

/** The current delay and, if it differs, the configured one. */
function delay(relay: Relay, wanted: number) {
  const current = `delayed by ${seconds(relay.delayMs / 1000)}`;
  return Math.abs(relay.delayMs - wanted * 1000) < 500 ? current : `${current} (${seconds(wanted)} set)`;
}

type FactsProps = { relay: Relay; destination: Destination; live: boolean };

function Facts({ relay, destination: { enabled, delaySeconds }, live }: FactsProps) {
  const now = useNow();
  const since = clock(now - Date.parse(relay.since));
  const words: string[] = [];
  if (isOn(relay) || relay.state === "stalled") {
    words.push(bitrate(relay.kbps), since);
    if (relay.rttMs !== null) words.push(`${Math.max(1, Math.round(relay.rttMs))} ms round trip`);
    if (relay.delayMs > 0 || delaySeconds > 0) words.push(delay(relay, delaySeconds));
    if (relay.lagMs > BEHIND_MS) words.push(`behind by ${seconds(relay.lagMs / 1000)}`);
    if (relay.droppedFrames > 0) words.push(`${relay.droppedFrames} frames skipped`);
    if (relay.reconnects > 0) words.push(`reconnected ${relay.reconnects}×`);
  } else if (relay.nextAttemptAt) {
    words.push(`next attempt in ${Math.max(0, Math.ceil((Date.parse(relay.nextAttemptAt) - now) / 1000))} s`);
  } else if (relay.state === "off") {
    words.push(enabled && live ? "starting…" : "ready");
  } else if (relay.state === "waiting") {
    const later = delaySeconds > 0 ? `, ${seconds(delaySeconds)} later` : "";
    words.push(`starts when you go live${later}`);
  }
  return <p className="text-muted">{words.join(" · ")}</p>;
}

const stepNames: Record<string, string> = {
  resolve: "Look up the server",
  connect: "Connect",
  tls: "TLS handshake",
  handshake: "RTMP handshake",
  rtmp_connect: "Open the application",
  create_stream: "Create a stream",
};

function Test({ destination, onClose }: { destination: Destination; onClose: () => void }) {
  const test = useMutation({
    mutationFn: (): Promise<Probe> =>
      take(api.POST("/api/destinations/{id}/test", { params: { path: { id: destination.id } } })),
  });
  return (
    <Dialog title={`Test ${destination.name}`} onClose={onClose}>
      <div className="space-y-4">
        <p>Connects and checks whether the server accepts a stream. Nothing goes live.</p>
        {test.data && (
          <ol className="space-y-1" aria-live="polite">
            {test.data.steps.map(({ step, ms, error }) => (
              <li key={step}>
                <span className={error ? "text-bad" : "text-good"}>
                  {error ? "✕" : "✓"} {stepNames[step] ?? step}
                </span>{" "}
                <span className="text-muted">{ms} ms</span>
                {error && <p className="text-bad">{error.message}</p>}
              </li>
            ))}
          </ol>
        )}
        {test.data?.ok && (
          <p className="text-muted">The server responds. It checks the stream key only when you start.</p>
        )}
        {test.error && <Failure>{test.error.message}</Failure>}
        <Button look="primary" onClick={() => test.mutate()} busy={test.isPending && "Testing…"}>
          {test.data ? "Test again" : "Test"}
        </Button>
      </div>
    </Dialog>
  );
}

function Delete({
  destination,
  project,
  onClose,
}: {
  destination: Destination;
  project: Project;
  onClose: () => void;
}) {
  const cache = useQueryClient();
  const remove = useMutation({
    mutationFn: () =>
      take(api.DELETE("/api/destinations/{id}", { params: { path: { id: destination.id } } })),
    onSuccess: () => cache.invalidateQueries(projectQuery(project.id)).then(onClose),
  });
  const live = isOn(destination.relay);
  return (
    <Dialog title={`Delete ${destination.name}?`} onClose={onClose}>
      <div className="space-y-4">
        <p>
          {live
            ? "This ends your stream there. The other destinations continue."
            : "Its URL and stream key will be deleted."}
        </p>
        {remove.error && <Failure>{remove.error.message}</Failure>}
        <Button look="danger" onClick={() => remove.mutate()} busy={remove.isPending && "Deleting…"}>
          Delete
        </Button>
      </div>
    </Dialog>
  );
}
