import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";

import { api, beginLogin, Problem, take } from "../../api/client";
import { Button } from "../../components/ui/button";
import { Failure, Field } from "../../components/ui/field";
import { moment } from "../../lib/format";
import { AlsoEnds, usually } from "./also";
import { Strength } from "./enter-page";
import { OnAir } from "./on-air";
import { sessionQuery, useLogout } from "./session";
import { Sessions } from "./sessions";
import { Audit, Tokens } from "./tokens";

/** The account: password, sessions, live streams, API tokens and activity. */
export function AccountPage() {
  const { data: user } = useQuery(sessionQuery);
  const logout = useLogout();
  const [currentPassword, setCurrent] = useState("");
  const [newPassword, setNew] = useState("");
  const [also, setAlso] = useState(usually);
  const cache = useQueryClient();
  const change = useMutation({
    mutationFn: () =>
      take(api.POST("/api/auth/password", { body: { currentPassword, newPassword, ...also } })),
    onSuccess: () => {
      setCurrent("");
      setNew("");
      // The session was replaced: responses to requests of the old one may still be refusals.
      beginLogin();
      // Sessions, tokens and stream keys have changed.
      return cache.invalidateQueries();
    },
  });
  const problem = change.error instanceof Problem ? change.error : undefined;
  const wrong = problem?.code === "invalid_credentials" ? "This is not your current password." : undefined;
  const currentError = problem?.fields.currentPassword ?? wrong;
  const newError = problem?.fields.newPassword;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    change.mutate();
  };
  return (
    <main className="mx-auto max-w-xl p-4 space-y-4">
      <h1 className="text-xl font-semibold">Account</h1>
      <section className="panel p-5">
        <p className="font-medium">{user?.email}</p>
        <p className="text-muted">{user && `since ${moment(user.createdAt)}`}</p>
        <Button className="mt-3" onClick={() => logout.mutate()} busy={logout.isPending && "Logging out…"}>
          Log out
        </Button>
      </section>
      <Sessions />
      <OnAir />
      <form onSubmit={submit} noValidate className="panel p-5 space-y-4">
        <h2 className="text-base font-semibold">Change password</h2>
        <Field
          label="Current password"
          type="password"
          autoComplete="current-password"
          value={currentPassword}
          onChange={(event) => setCurrent(event.target.value)}
          error={currentError}
        />
        <div className="space-y-2">
          <Field
            label="New password"
            type="password"
            autoComplete="new-password"
            value={newPassword}
            onChange={(event) => setNew(event.target.value)}
            error={newError}
          />
          {newPassword && <Strength password={newPassword} />}
        </div>
        <AlsoEnds also={also} onChange={setAlso} />
        {problem && !currentError && !newError && <Failure>{problem.message}</Failure>}
        {change.isSuccess && (
          <p role="status" className="text-good">
            ✓ Changed. You were signed out everywhere else.
          </p>
        )}
        <Button type="submit" look="primary" busy={change.isPending && "Changing…"}>
          Change and sign out everywhere else
        </Button>
      </form>
      <Tokens />
      <Audit />
    </main>
  );
}
