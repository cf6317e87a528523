// How an open page stays true: by the server's event stream and, while no events come through, by asking. Some proxies hold an
// answer back until it is complete, which an event stream never is, and the browser sees no difference to a server with no news.
import { api, type Project } from "../../api/client";

/** The first event is part of the answer. */
const OPENING_MS = 5_000;
/** The server sends something every five seconds. */
const SILENCE_MS = 11_000;
/** Events this far apart did not come in one block. */
const APART_MS = 1_000;
/** A stream that gave events for so long may end without being suspected. */
const SETTLED_MS = 30_000;
/** Between two questions while no events come. */
export const ASK_MS = 3_000;
/** Between two attempts with a stream that gave nothing. */
const RETRY_MS = 30_000;
/** After the first refusal of a stream; twice as long after each further one. */
const REFUSED_MS = 10_000;
/** After the second stream in a row that broke off; twice as long after each further one. */
const BROKEN_MS = 1_000;
/** The longest pause of our own choice, and the longest that the server may ask for. */
const PAUSE_MS_MAX = 300_000;
const RETRY_AFTER_MS_MAX = 3_600_000;
/** A question without an answer: the line is dead. */
const ANSWER_MS = 6_000;
/** `EventSource.CLOSED`: the server answered, and not with a stream. After a broken line it would be `CONNECTING`. */
const CLOSED = 2;

/** What happens, for the one who shows it. */
export type Listener = {
  project: (project: Project) => void;
  /** Whether the server cannot be reached, or cannot answer. */
  away: (away: boolean) => void;
  /** Whether events are held back, and the page asks instead. */
  heldBack: (heldBack: boolean) => void;
  /** The server refuses the event stream, and the page asks instead: its reason, which may be empty. `undefined` when it does not. */
  refused: (why: string | undefined) => void;
  gone: () => void;
  loggedOut: () => void;
};

/** Why a stream ended: it gave nothing in time, the server refused it, or it gave events before. */
type Failure = "held" | "refused" | "broken";

/** A pause that grows with each failure in a row. */
const pause = (first: number, failures: number) => Math.min(first * 2 ** failures, PAUSE_MS_MAX);

/** How long the server asks not to be asked, in milliseconds. */
function retryAfter(response: Response | undefined): number {
  const seconds = Number(response?.headers.get("retry-after") ?? 0);
  return seconds > 0 ? Math.min(seconds * 1_000, RETRY_AFTER_MS_MAX) : 0;
}

/** Follows a project until the function that it returns is called. */
export function follow(id: string, listener: Listener): () => void {
  const path = { id };
  let ended = false;
  let source: EventSource | undefined;
  let silence: ReturnType<typeof setTimeout> | undefined;
  let question: ReturnType<typeof setTimeout> | undefined;
  /** Events are believed, and nothing is asked. */
  let streaming = true;
  /** Of the events of this stream. */
  let firstAt: number | undefined;
  let isFlowing = false;
  /** Of the last stream, and how many in a row ended so. */
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
    const heard = () => {
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
      // What changed since the last answer may have been in an event that was not believed yet.
      void ask();
    };
    const take = (event: MessageEvent<string>) => {
      heard();
      if (!streaming) return;
      taken += 1;
      listener.project(JSON.parse(event.data) as Project);
      listener.away(false);
    };
    source.addEventListener("snapshot", take);
    source.addEventListener("status", take);
    source.addEventListener("heartbeat", heard);
    source.onerror = lost;
    silence = setTimeout(lost, OPENING_MS);
  };

  /** The stream ended or is silent: the server restarts or refuses it, the session is over, the project is gone, or a proxy holds it back. */
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
    // Most streams that break off do so once, since the server restarts.
    return failures > 0 ? pause(BROKEN_MS, failures - 1) : 0;
  };

  /** The browser does not say why a stream was refused. */
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
    // An event that came meanwhile is newer than the answer, or is followed by one that is.
    if (answer?.data && taken === before) listener.project(answer.data);
    listener.away(!answer?.data);
    if (streaming) return;
    question = setTimeout(ask, Math.max(ASK_MS, retryAfter(answer?.response)));
    // A server that was away says nothing about proxies.
    if (!answer?.data && failure !== "refused") retryAt = 0;
    const isDue = performance.now() >= retryAt;
    if (!answer?.data || !isDue) show(!!answer?.data);
    if (answer?.data && isDue && !source) open();
  };

  /** Says why the page asks, which it does only of a server that is there. */
  const show = (isThere: boolean) => {
    listener.heldBack(isThere && failure === "held");
    listener.refused(isThere && failure === "refused" ? why : undefined);
  };

  open();
  return end;
}
