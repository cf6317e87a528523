import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { api, type Session, take } from "../../api/client";
import { Button } from "../../components/ui/button";
import { Failure } from "../../components/ui/field";
import { moment } from "../../lib/format";
import { type Also, AlsoEnds, usually } from "./also";
import { sessionQuery } from "./session";

const sessionsKey = ["sessions"];

/** The sessions of the account, and buttons to end them. */
export function Sessions() {
  const cache = useQueryClient();
  const [also, setAlso] = useState(usually);
  const { data: sessions, error } = useQuery({
    queryKey: sessionsKey,
    queryFn: () => take(api.GET("/api/auth/sessions")),
    staleTime: 0,
  });
  const end = useMutation({
    mutationFn: (id: string) => take(api.DELETE("/api/auth/sessions/{id}", { params: { path: { id } } })),
    onSuccess: () => cache.invalidateQueries({ queryKey: sessionsKey }),
  });
  const everywhere = useMutation({
    mutationFn: (query: Also) => take(api.DELETE("/api/auth/sessions", { params: { query } })),
    onSuccess: () => cache.setQueryData(sessionQuery.queryKey, null),
  });
  const failed = error ?? end.error ?? everywhere.error;
  return (
    <section className="panel p-5 space-y-3">
      <h2 className="text-base font-semibold">Where you are logged in</h2>
      {failed && <Failure>{failed.message}</Failure>}
      {!sessions && !error && <div className="skeleton h-12" />}
      <ul className="divide-y divide-line" data-testid="sessions">
        {(sessions ?? []).map((session) => (
          <li key={session.id} className="py-2 flex flex-wrap items-center justify-between gap-x-4">
            <span className="min-w-0 flex-1 basis-56">
              <span className="block truncate">{browser(session)}</span>
              <span className="text-muted block">{session.address ?? "unknown address"}</span>
              <span className="text-muted block">
                since {moment(session.createdAt)}
                {session.lastSeenAt && `, last seen ${moment(session.lastSeenAt)}`}
              </span>
            </span>
            {session.current ? (
              <span className="text-muted">this browser</span>
            ) : (
              <Button
                look="quiet"
                onClick={() => end.mutate(session.id)}
                busy={end.isPending && end.variables === session.id && "Ending…"}
              >
                Log out
              </Button>
            )}
          </li>
        ))}
      </ul>
      <AlsoEnds also={also} onChange={setAlso} />
      <Button
        look="danger"
        onClick={() => everywhere.mutate(also)}
        busy={everywhere.isPending && "Signing out…"}
      >
        Sign out everywhere
      </Button>
    </section>
  );
}

const browsers = ["Edg", "OPR", "Firefox", "Chrome", "Safari"];
const systems = ["Windows", "Android", "iPhone", "iPad", "Mac OS", "Linux"];
const plain: Record<string, string> = { Edg: "Edge", OPR: "Opera", "Mac OS": "macOS" };

/** The common name of a browser. */
export function browser({ agent }: Pick<Session, "agent">): string {
  if (!agent) return "Unknown program";
  const of = (names: string[]) => {
    const found = names.find((name) => agent.includes(name));
    return found && (plain[found] ?? found);
  };
  const [name, system] = [of(browsers), of(systems)];
  return name && system ? `${name} on ${system}` : (name ?? agent.slice(0, 60));
}
