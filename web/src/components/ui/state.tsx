import type { Relay } from "../../api/client";

type Look = { icon: string; word: string; colour: string };

const relays: Record<string, Look> = {
  off: { icon: "○", word: "off", colour: "text-muted" },
  waiting: { icon: "◔", word: "waiting for your encoder", colour: "text-muted" },
  connecting: { icon: "◔", word: "connecting…", colour: "text-warn" },
  live: { icon: "●", word: "live", colour: "text-live" },
  degraded: { icon: "▲", word: "falling behind", colour: "text-warn" },
  stalled: { icon: "▲", word: "stalled", colour: "text-warn" },
  backoff: { icon: "▲", word: "retrying", colour: "text-warn" },
  rejected: { icon: "✕", word: "refused", colour: "text-bad" },
};

const projects: Record<string, Look> = {
  offline: { icon: "○", word: "offline", colour: "text-muted" },
  live: { icon: "●", word: "LIVE", colour: "text-live font-semibold" },
  reconnecting: { icon: "▲", word: "reconnecting", colour: "text-warn font-semibold" },
};

/** A state with an icon and a word, never colour alone. */
function State({ look, testId }: { look: Look | undefined; testId: string }) {
  const { icon, word, colour } = look ?? { icon: "?", word: "unknown", colour: "text-muted" };
  return (
    <span className={`inline-flex items-center gap-1.5 whitespace-nowrap ${colour}`} data-testid={testId}>
      <span aria-hidden="true">{icon}</span>
      {word}
    </span>
  );
}

/** Whether the platform receives the stream, completely or with gaps. */
export const isOn = ({ state }: Relay) => state === "live" || state === "degraded";

/** The label of a relay state. */
export function relayWord(state: string): string {
  return relays[state]?.word ?? state;
}

export function RelayState({ relay }: { relay: Relay }) {
  return <State look={relays[relay.state]} testId="relay-state" />;
}

export function ProjectState({ status }: { status: string }) {
  return <State look={projects[status]} testId="project-state" />;
}
