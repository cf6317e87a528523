// Keeps an open page current: with the server's event stream and, while no events arrive, by polling. Some proxies buffer a
// response until it is complete, which an event stream never is; to the browser this looks like a server without news.
import { api, type Project } from "../../api/client";

/** Time limit for the first event, which the server sends at once. */
const OPENING_MS = 5_000;
/** Time limit between events; the server sends one at least every five seconds. */
const SILENCE_MS = 11_000;
/** Events this far apart were not delivered in one buffered block. */
const APART_MS = 1_000;
/** A stream that worked this long may end without counting as a failure. */
const SETTLED_MS = 30_000;
/** Poll interval while no events arrive. */
export const ASK_MS = 3_000;
/** Pause before the stream is opened again after it delivered nothing. */
const RETRY_MS = 30_000;
/** Pause after the first refusal of a stream; doubled after each further one. */
const REFUSED_MS = 10_000;
/** Pause after the second broken stream in a row; doubled after each further one. */
const BROKEN_MS = 1_000;
/** The longest pause chosen here, and the longest accepted from the server. */
const PAUSE_MS_MAX = 300_000;
const RETRY_AFTER_MS_MAX = 3_600_000;
/** Time limit of a poll; after that the connection counts as dead. */
const ANSWER_MS = 6_000;
/** `EventSource.CLOSED`: the response was not an event stream. After a lost connection it would be `CONNECTING`. */
const CLOSED = 2;

/** Callbacks for the page. */
export type Listener = {
  project: (project: Project) => void;
  /** Whether the server is unreachable, or cannot respond. */
  away: (away: boolean) => void;
  /** Whether events are buffered by a proxy, and the page polls instead. */
  heldBack: (heldBack: boolean) => void;
  /** The reason why the server refuses the event stream, possibly empty, while the page polls instead; otherwise `undefined`. */
  refused: (why: string | undefined) => void;
  gone: () => void;
  loggedOut: () => void;
};

/** Why a stream ended: it delivered nothing in time, the server refused it, or it broke after delivering events. */
type Failure = "held" | "refused" | "broken";

/** A pause that doubles with each consecutive failure. */
const pause = (first: number, failures: number) => Math.min(first * 2 ** failures, PAUSE_MS_MAX);

/** The response's `Retry-After`, in milliseconds. */
function retryAfter(response: Response | undefined): number {
  const seconds = Number(response?.headers.get("retry-after") ?? 0);
  return seconds > 0 ? Math.min(seconds * 1_000, RETRY_AFTER_MS_MAX) : 0;
}

/** Follows a project until the returned function is called. */
export function follow(id: string, listener: Listener): () => void {
  const path = { id };
  let ended = false;
  let source: EventSource | undefined;
  let silence: ReturnType<typeof setTimeout> | undefined;
  let question: ReturnType<typeof setTimeout> | undefined;
  /** Events are used, and the page does not poll. */
  let streaming = true;
  /** Time of this stream's first event. */
  let firstAt: number | undefined;
  let isFlowing = false;
  /** The failure of the last stream, and the number of consecutive equal ones. */
  let failure: Failure | undefined;
  let failures = 0;
  let why = "";
  let retryAt = 0;
  let taken = 0;
  let asked = 0;

  const close = () => {
    source?.close();
    source = undefined;
    clearTimeout(silence);
  };
  const end = () => {
    close();
    clearTimeout(question);
    ended = true;
  };

  const open = () => {
    [firstAt, isFlowing] = [undefined, false];
    source = new EventSource(`/api/projects/${id}/events`);
    const received = () => {
      clearTimeout(silence);
      silence = setTimeout(lost, SILENCE_MS);
      const now = performance.now();
      firstAt ??= now;
      isFlowing ||= now - firstAt >= APART_MS;
      if (now - firstAt >= SETTLED_MS) [failure, failures] = [undefined, 0];
      if (streaming || !isFlowing) return;
      streaming = true;
      listener.heldBack(false);
      listener.refused(undefined);
      // A change since the last poll may have been in an event that was ignored.
      void ask();
    };
    const take = (event: MessageEvent<string>) => {
      received();
      if (!streaming) return;
      taken += 1;
      listener.project(JSON.parse(event.data) as Project);
      listener.away(false);
    };
    source.addEventListener("snapshot", take);
    source.addEventListener("status", take);
    source.addEventListener("heartbeat", received);
    source.onerror = lost;
    silence = setTimeout(lost, OPENING_MS);
  };

  /** The stream ended or is silent: the server restarts or refuses it, the session ended, the project is gone, or a proxy buffers it. */
  const lost = () => {
    const now: Failure = source?.readyState === CLOSED ? "refused" : isFlowing ? "broken" : "held";
    close();
    failures = now === failure ? failures + 1 : 0;
    failure = now;
    retryAt = performance.now() + pauseAfter(now);
    const wasStreaming = streaming;
    streaming = false;
    const known = now === "refused" ? askWhy() : Promise.resolve();
    if (wasStreaming) void known.then(ask);
  };

  const pauseAfter = (now: Failure) => {
    if (now === "refused") return pause(REFUSED_MS, failures);
    if (now === "held") return RETRY_MS;
    // A single broken stream is usually a restart of the server.
    return failures > 0 ? pause(BROKEN_MS, failures - 1) : 0;
  };

  /** Requests the reason of a refusal, which `EventSource` does not expose. */
  const askWhy = async () => {
    const init = { params: { path }, parseAs: "stream", signal: AbortSignal.timeout(ANSWER_MS) } as const;
    const answer = await api.GET("/api/projects/{id}/events", init).catch(() => undefined);
    if (ended || !answer || source) return;
    void (answer.data as ReadableStream | undefined)?.cancel();
    retryAt = Math.max(retryAt, performance.now() + retryAfter(answer.response));
    why = (answer.error as { detail?: string } | undefined)?.detail ?? "";
  };

  const ask = async () => {
    if (ended) return;
    clearTimeout(question);
    asked += 1;
    const [turn, before] = [asked, taken];
    const init = { params: { path }, signal: AbortSignal.timeout(ANSWER_MS) };
    const answer = await api.GET("/api/projects/{id}", init).catch(() => undefined);
    if (ended || turn !== asked) return;
    const status = answer?.response.status;
    if (status === 401) return [end(), listener.loggedOut()];
    if (status === 404) return [end(), listener.gone()];
    // An event received meanwhile is newer than the response, or a newer one follows.
    if (answer?.data && taken === before) listener.project(answer.data);
    listener.away(!answer?.data);
    if (streaming) return;
    question = setTimeout(ask, Math.max(ASK_MS, retryAfter(answer?.response)));
    // An outage of the server says nothing about proxies.
    if (!answer?.data && failure !== "refused") retryAt = 0;
    const isDue = performance.now() >= retryAt;
    if (!answer?.data || !isDue) show(!!answer?.data);
    if (answer?.data && isDue && !source) open();
  };

  /** Shows why the page polls, if the server responds. */
  const show = (isThere: boolean) => {
    listener.heldBack(isThere && failure === "held");
    listener.refused(isThere && failure === "refused" ? why : undefined);
  };

  open();
  return end;
}
