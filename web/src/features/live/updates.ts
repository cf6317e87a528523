// How an open page stays true: by the server's event stream and, while no events come through, by asking. Some proxies hold an
// answer back until it is complete, which an event stream never is, and the browser sees no difference to a server with no news.
import { api, type Project } from "../../api/client";

/** The first event is part of the answer. */
const OPENING_MS = 5_000;
/** The server sends something every five seconds. */
const SILENCE_MS = 11_000;
/** Events this far apart did not come in one block. */
const APART_MS = 1_000;
/** Between two questions while no events come. */
export const ASK_MS = 3_000;
/** Between two attempts with a stream that gave nothing. */
const RETRY_MS = 30_000;
/** A question without an answer: the line is dead. */
const ANSWER_MS = 6_000;

/** What happens, for the one who shows it. */
export type Listener = {
  project: (project: Project) => void;
  /** Whether the server cannot be reached, or cannot answer. */
  away: (away: boolean) => void;
  /** Whether events are held back, and the page asks instead. */
  heldBack: (heldBack: boolean) => void;
  gone: () => void;
  loggedOut: () => void;
};

/** Follows a project until the function that it returns is called. */
export function follow(id: string, listener: Listener): () => void {
  let source: EventSource | undefined;
  let silence: ReturnType<typeof setTimeout> | undefined;
  let question: ReturnType<typeof setTimeout> | undefined;
  /** Events are believed, and nothing is asked. */
  let streaming = true;
  /** Of the events of this stream. */
  let firstAt: number | undefined;
  let isFlowing = false;
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
    asked += 1;
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
      if (streaming || !isFlowing) return;
      streaming = true;
      listener.heldBack(false);
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

  /** The stream ended or is silent: the server restarts, the session is over, the project is gone, or a proxy holds it back. */
  const lost = () => {
    close();
    if (!isFlowing) retryAt = performance.now() + RETRY_MS;
    if (!streaming) return;
    streaming = false;
    void ask();
  };

  const ask = async () => {
    clearTimeout(question);
    asked += 1;
    const [turn, before] = [asked, taken];
    const signal = AbortSignal.timeout(ANSWER_MS);
    const path = { id };
    const answer = await api.GET("/api/projects/{id}", { params: { path }, signal }).catch(() => undefined);
    if (turn !== asked) return;
    const status = answer?.response.status;
    if (status === 401) return [end(), listener.loggedOut()];
    if (status === 404) return [end(), listener.gone()];
    // An event that came meanwhile is newer than the answer, or is followed by one that is.
    if (answer?.data && taken === before) listener.project(answer.data);
    listener.away(!answer?.data);
    if (streaming) return;
    question = setTimeout(ask, ASK_MS);
    // A server that was away says nothing about proxies.
    if (!answer?.data) retryAt = 0;
    const isDue = performance.now() >= retryAt;
    if (!answer?.data || !isDue) listener.heldBack(!!answer?.data);
    if (answer?.data && isDue && !source) open();
  };

  open();
  return end;
}
