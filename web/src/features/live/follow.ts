// What the server says of an open project, into the query cache. What the page shows is what the server said last.
import { queryOptions, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState, useSyncExternalStore } from "react";

import { api, type Project, take } from "../../api/client";
import { serverNow } from "../../lib/clock";
import { sessionQuery } from "../session/session";
import { follow } from "./updates";

/** A project. Whatever changes it invalidates this; events keep it fresh otherwise. */
export const projectQuery = (id: string) =>
  queryOptions({
    queryKey: ["project", id],
    queryFn: async ({ client, queryKey }) => {
      const before = client.getQueryState(queryKey)?.dataUpdateCount;
      const answer = await take(api.GET("/api/projects/{id}", { params: { path: { id } } }));
      const now = client.getQueryState<Project>(queryKey);
      // An event that came meanwhile is newer than the answer, or is followed by one that is.
      return now?.data && now.dataUpdateCount !== before ? now.data : answer;
    },
    staleTime: Number.POSITIVE_INFINITY,
  });

/** Names every request that ends the running stream of a project. */
export const endsStream = (id: string) => ["ends-stream", id];

/** A moment of a stream, for the charts. */
export type Sample = { at: number; kbps: number; fps: number; relays: Record<string, number> };

/** Ten minutes at two samples a second. */
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

/** The last ten minutes that this page saw. */
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
  /** A proxy holds events back, and the page asks instead. */
  heldBack: boolean;
  /** The server refuses events, and the page asks instead: its reason, which may be empty. */
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

/** The server's time, each second: for running clocks and countdowns. */
export function useNow(): number {
  const [now, setNow] = useState(serverNow);
  useEffect(() => {
    const timer = setInterval(() => setNow(serverNow()), 1_000);
    return () => clearInterval(timer);
  }, []);
  return now;
}
