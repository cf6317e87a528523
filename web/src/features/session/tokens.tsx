import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";

import { api, Problem, type Token, take } from "../../api/client";
import { Button } from "../../components/ui/button";
import { Choice, Failure, Field } from "../../components/ui/field";
import { Secret } from "../../components/ui/secret";
import { moment } from "../../lib/format";

const tokensKey = ["tokens"];

const scopes = { full: "Full access, except logins", read: "Read only, without stream keys" } as const;
const lifetimes = { "30": "in 30 days", "365": "in a year", never: "never" } as const;
const DAY_MS = 86_400_000;

/** Scope, expiry and last use of a token. */
function about({ scope, expiresAt, lastUsedAt }: Token): string {
  const used = lastUsedAt ? `last used ${moment(lastUsedAt)}` : "never used";
  const end = expiresAt ? `expires ${moment(expiresAt)}` : "does not expire";
  return [scope === "read" ? "read only" : "full access", end, used].join(", ");
}

/** API tokens: creates, lists and revokes them. */
export function Tokens() {
  const cache = useQueryClient();
  const [name, setName] = useState("");
  const [scope, setScope] = useState<keyof typeof scopes>("full");
  const [life, setLife] = useState<keyof typeof lifetimes>("365");
  const { data: tokens, error } = useQuery({
    queryKey: tokensKey,
    queryFn: () => take(api.GET("/api/auth/tokens")),
    staleTime: 0,
  });
  const fresh = () => cache.invalidateQueries({ queryKey: tokensKey });
  const make = useMutation({
    mutationFn: () => {
      const expiresAt = life === "never" ? null : new Date(Date.now() + Number(life) * DAY_MS).toISOString();
      return take(api.POST("/api/auth/tokens", { body: { name, scope, expiresAt } }));
    },
    onSuccess: () => {
      setName("");
      return fresh();
    },
  });
  const end = useMutation({
    mutationFn: (id: string) => take(api.DELETE("/api/auth/tokens/{id}", { params: { path: { id } } })),
    onSuccess: fresh,
  });
  const problem = make.error instanceof Problem ? make.error : undefined;
  const failed = error ?? end.error ?? (problem?.fields.name ? undefined : make.error);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    make.mutate();
  };
  return (
    <section className="panel p-5 space-y-3">
      <h2 className="text-base font-semibold">API tokens</h2>
      <p className="text-muted">
        A token allows scripts to do everything that you can do here, except change your logins. A read-only
        token changes nothing and sees no stream key.{" "}
        <a href="/api/docs" className="text-accent underline">
          API documentation
        </a>
      </p>
      {failed && <Failure>{failed.message}</Failure>}
      {make.data && <Secret label="Your new token, shown only once" value={make.data.token} masked />}
      <ul className="divide-y divide-line" data-testid="tokens">
        {(tokens ?? []).map((token) => (
          <li key={token.id} className="py-2 flex flex-wrap items-center justify-between gap-x-4">
            <span className="min-w-0">
              <span className="block truncate">{token.name}</span>
              <span className="text-muted block">{about(token)}</span>
            </span>
            <Button
              look="quiet"
              onClick={() => end.mutate(token.id)}
              busy={end.isPending && end.variables === token.id && "Revoking…"}
            >
              Revoke
            </Button>
          </li>
        ))}
      </ul>
      <form onSubmit={submit} noValidate className="space-y-3">
        <Field
          label="New token"
          placeholder="Stream deck"
          value={name}
          onChange={(event) => setName(event.target.value)}
          error={problem?.fields.name}
          maxLength={100}
        />
        <div className="grid sm:grid-cols-2 gap-3">
          <Choice label="Permissions" choices={scopes} value={scope} onChange={setScope} />
          <Choice label="Expires" choices={lifetimes} value={life} onChange={setLife} />
        </div>
        <Button type="submit" busy={make.isPending && "Creating…"}>
          Create token
        </Button>
      </form>
    </section>
  );
}

const actions: Record<string, string> = {
  signup: "Account created",
  login: "Logged in",
  login_failed: "Wrong password",
  account_added: "Account created",
  logout: "Logged out",
  session_ended: "Session ended",
  password_changed: "Password changed",
  signed_out_everywhere: "Signed out everywhere",
  token_created: "Token created",
  token_deleted: "Token revoked",
  tokens_deleted: "Tokens revoked",
  stream_keys_renewed: "New stream keys",
  project_created: "Project created",
  project_changed: "Project changed",
  project_deleted: "Project deleted",
  stream_ended: "Stream ended",
  pull_changed: "Pull URL changed",
  stream_key_shown: "Stream key shown",
  stream_key_rotated: "New stream key",
  playback_id_rotated: "New preview link",
  destination_added: "Destination added",
  destination_changed: "Destination changed",
  destination_deleted: "Destination deleted",
  relay_started: "Destination started",
  relay_stopped: "Destination stopped",
  relay_retried: "Destination retried",
};

/** The audit log of the account. */
export function Audit() {
  const [open, setOpen] = useState(false);
  const { data: entries, error } = useQuery({
    queryKey: ["audit"],
    queryFn: () => take(api.GET("/api/auth/audit")),
    // Loaded when opened, and always current.
    enabled: open,
    staleTime: 0,
  });
  return (
    <details className="panel p-5" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary className="text-base font-semibold">Account activity</summary>
      {error && <Failure>{error.message}</Failure>}
      <ul className="pt-3 divide-y divide-line" data-testid="audit">
        {(entries ?? []).map((entry) => (
          <li
            key={entry.at + entry.action + entry.object}
            className="py-1.5 flex flex-wrap justify-between gap-x-4"
          >
            <span>
              {actions[entry.action] ?? entry.action}
              {entry.object && `: ${entry.object}`}
              {entry.count > 1 && `, ${entry.count} times`}
              {entry.changes.map(({ field, old, new: now }) => (
                <span key={field} className="block text-muted break-all">
                  {field}: {[old, now].filter((value) => value !== null).join(" → ")}
                </span>
              ))}
            </span>
            <span className="text-muted">
              {moment(entry.at)}
              {entry.address && `, ${entry.address}`}
              {!entry.address && entry.count > 1 && ", several addresses"}
            </span>
          </li>
        ))}
      </ul>
    </details>
  );
}
