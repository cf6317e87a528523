// Puts the server's updates of an open project into the query cache. The page shows the newest server state.
import { queryOptions, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState, useSyncExternalStore } from "react";

import { api, type Project, take } from "../../api/client";
import { serverNow } from "../../lib/clock";
import { sessionQuery } from "../session/session";
import { follow } from "./updates";

/** A project. Mutations invalidate it; otherwise events keep it current. */
export const projectQuery = (id: string) =>
  queryOptions({
    queryKey: ["project", id],
    queryFn: async ({ client, queryKey }) => {
      const before = client.getQueryState(queryKey)?.dataUpdateCount;
      const answer = await take(api.GET("/api/projects/{id}", { params: { path: { id } } }));
      const now = client.getQueryState<Project>(queryKey);
      // An event received meanwhile is newer than the response, or a newer one follows.
      return now?.data && now.dataUpdateCount !== before ? now.data : answer;
    },
    staleTime: Number.POSITIVE_INFINITY,
  });

/** Mutation key of all requests that end a project's stream. */
export const endsStream = (id: string) => ["ends-stream", id];

/** A data point of the charts. */
export type Sample = { at: number; kbps: number; fps: number; relays: Record<string, number> };

/** Ten minutes with two samples per second. */
const SAMPLES_MAX = 1_200;
const KEPT_MS = 600_000;
const samples = new Map<string, Sample[]>();
const listeners = new Set<() => void>();

function sample(project: Project) {
  const old = samples.get(project.id) ?? [];
  if (!project.stream && old.length === 0) return;
  const now = Date.now();
  const next: Sample = {
    at: now / 1000,
    kbps: (project.stream?.video?.kbps ?? 0) + (project.stream?.audio?.kbps ?? 0),
    fps: project.stream?.video?.fps ?? 0,
    relays: Object.fromEntries((project.destinations ?? []).map(({ id, relay }) => [id, relay.kbps])),
  };
  const kept = old.filter(({ at }) => at * 1000 > now - KEPT_MS).slice(-SAMPLES_MAX);
  samples.set(project.id, [...kept, next]);
  for (const listener of listeners) listener();
}

const none: Sample[] = [];

/** The samples of the last ten minutes. */
export function useSamples(id: string): Sample[] {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => samples.get(id) ?? none,
  );
}

/** Follows a project while the page is open. */
export function useFollow(id: string): {
  /** The server cannot be reached right now. */
  away: boolean;
  /** A proxy buffers events, and the page polls instead. */
  heldBack: boolean;
  /** The server refuses events, and the page polls instead: the reason, which may be empty. */
  refused: string | undefined;
  gone: boolean;
} {
  const cache = useQueryClient();
  const [away, setAway] = useState(false);
  const [heldBack, setHeldBack] = useState(false);
  const [refused, setRefused] = useState<string>();
  const [gone, setGone] = useState(false);
  useEffect(
    () =>
      follow(id, {
        project: (project) => {
          cache.setQueryData(projectQuery(id).queryKey, project);
          sample(project);
        },
        away: setAway,
        heldBack: setHeldBack,
        refused: setRefused,
        gone: () => setGone(true),
        loggedOut: () => cache.setQueryData(sessionQuery.queryKey, null),
      }),
    [id, cache],
  );
  return { away, heldBack, refused, gone };
}

/** The server's time, updated every second, for clocks and countdowns. */
export function useNow(): number {
  const [now, setNow] = useState(serverNow);
  useEffect(() => {
    const timer = setInterval(() => setNow(serverNow()), 1_000);
    return () => clearInterval(timer);
  }, []);
  return now;
}
