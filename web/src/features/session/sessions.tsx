import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";

import { api, type Session, take } from "../../api/client";
import { Button } from "../../components/ui/button";
import { Failure } from "../../components/ui/field";
import { moment } from "../../lib/format";
import { sessionQuery } from "./session";

const sessionsKey = ["sessions"];

/** Where the account is logged in, and the end of that. */
export function Sessions() {
  const cache = useQueryClient();
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
    mutationFn: () => take(api.DELETE("/api/auth/sessions")),
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
            <span className="min-w-0">
              <span className="block truncate">{browser(session)}</span>
              <span className="text-muted">since {moment(session.createdAt)}</span>
            </span>
            {session.current ? (
              <span className="text-muted">here</span>
            ) : (
              <Button
                look="quiet"
                onClick={() => end.mutate(session.id)}
                busy={end.isPending && end.variables === session.id && "Ending…"}
              >
                Log out there
              </Button>
            )}
          </li>
        ))}
      </ul>
      <Button look="danger" onClick={() => everywhere.mutate()} busy={everywhere.isPending && "Signing out…"}>
        Sign out everywhere
      </Button>
    </section>
  );
}

const browsers = ["Edg", "OPR", "Firefox", "Chrome", "Safari"];
const systems = ["Windows", "Android", "iPhone", "iPad", "Mac OS", "Linux"];
const plain: Record<string, string> = { Edg: "Edge", OPR: "Opera", "Mac OS": "macOS" };

/** A browser as people know it. */
export function browser({ agent }: Pick<Session, "agent">): string {
  if (!agent) return "A program";
  const of = (names: string[]) => {
    const found = names.find((name) => agent.includes(name));
    return found && (plain[found] ?? found);
  };
  const [name, system] = [of(browsers), of(systems)];
  return name && system ? `${name} on ${system}` : (name ?? agent.slice(0, 60));
}
