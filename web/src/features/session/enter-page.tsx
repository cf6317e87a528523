import { Link, useNavigate } from "@tanstack/react-router";
import { type FormEvent, useId, useState } from "react";

import { Problem } from "../../api/client";
import { Button } from "../../components/ui/button";
import { Failure, Field } from "../../components/ui/field";
import { useEnter } from "./session";
import { strength } from "./strength";

/** Login and sign-up. */
export function EnterPage({ how }: { how: "login" | "signup" }) {
  const enter = useEnter(how);
  const navigate = useNavigate();
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const signup = how === "signup";
  const problem = enter.error instanceof Problem ? enter.error : undefined;
  const emailError = problem?.fields.email ?? (problem?.code === "email_taken" ? problem.message : undefined);
  const passwordError = problem?.fields.password;

  const submit = (event: FormEvent) => {
    event.preventDefault();
    enter.mutate({ email, password }, { onSuccess: () => navigate({ to: "/" }) });
  };

  return (
    <main className="min-h-dvh grid place-items-center p-4">
      <form onSubmit={submit} noValidate className="panel w-full max-w-sm p-6 space-y-4">
        <header>
          <p className="text-muted">GoStream</p>
          <h1 className="text-xl font-semibold">{signup ? "Create an account" : "Log in"}</h1>
          {signup && <p className="text-muted mt-1">One live stream in, every platform out.</p>}
        </header>
        <Field
          label="Email"
          type="email"
          autoComplete="email"
          value={email}
          onChange={(event) => setEmail(event.target.value)}
          error={emailError}
          required
        />
        <div className="space-y-2">
          <Field
            label="Password"
            type="password"
            autoComplete={signup ? "new-password" : "current-password"}
            value={password}
            onChange={(event) => setPassword(event.target.value)}
            error={passwordError}
            required
          />
          {signup && password && <Strength password={password} />}
        </div>
        {problem && !emailError && !passwordError && <Failure>{problem.message}</Failure>}
        <Button type="submit" look="primary" className="w-full" busy={enter.isPending && "One moment…"}>
          {signup ? "Create account" : "Log in"}
        </Button>
        <p className="text-muted">
          {signup ? "Already have an account? " : "No account yet? "}
          <Link to={signup ? "/login" : "/signup"} className="text-accent underline">
            {signup ? "Log in" : "Create one"}
          </Link>
        </p>
      </form>
    </main>
  );
}

const colours = ["bg-bad", "bg-warn", "bg-good", "bg-good", "bg-good"];
const widths = ["w-1/12", "w-1/4", "w-1/2", "w-3/4", "w-full"];

export function Strength({ password }: { password: string }) {
  const id = useId();
  const { score, hint } = strength(password);
  return (
    <div>
      <div className="h-1.5 rounded-full bg-sunken overflow-hidden" aria-hidden="true">
        <div className={`h-full rounded-full ${colours[score]} ${widths[score]}`} />
      </div>
      <p id={id} className="text-muted mt-1" aria-live="polite">
        {hint}
      </p>
    </div>
  );
}
