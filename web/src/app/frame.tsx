import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, useNavigate } from "@tanstack/react-router";
import { useEffect } from "react";

import { api, Problem, take } from "../api/client";
import { sessionQuery } from "../features/session/session";

/** Poll interval of the server's health. */
const READINESS_MS = 10_000;

/** The frame of every page for logged-in users. */
export function Frame() {
  const { data: user } = useQuery(sessionQuery);
  const navigate = useNavigate();
  // Logged out here, in another tab, or by a new password elsewhere.
  useEffect(() => {
    if (user === null) void navigate({ to: "/login" });
  }, [user, navigate]);
  return (
    <>
      <header className="border-b border-line bg-panel">
        <nav
          aria-label="Main"
          className="mx-auto max-w-[110rem] flex items-center justify-between gap-4 px-4 h-12"
        >
          <Link to="/" className="font-semibold flex items-center gap-2">
            <img src="/favicon.svg" alt="" width="20" height="20" />
            GoStream
          </Link>
          <Link to="/account" className="text-muted hover:text-text truncate">
            {user?.email ?? ""}
          </Link>
        </nav>
      </header>
      <Trouble />
      <Outlet />
    </>
  );
}

/** A server-wide problem, such as a full disk. Pages report an unreachable server themselves. */
function Trouble() {
  const { data: trouble } = useQuery({
    queryKey: ["readiness"],
    queryFn: readiness,
    refetchInterval: READINESS_MS,
    retry: false,
  });
  if (!trouble) return null;
  return (
    <p role="alert" className="mx-auto max-w-[110rem] px-4 pt-4" data-testid="trouble">
      <span className="block bg-bad-soft text-bad rounded-lg px-4 py-3">{trouble}</span>
    </p>
  );
}

async function readiness(): Promise<string | null> {
  try {
    await take(api.GET("/readyz", { parseAs: "text" }));
  } catch (problem) {
    if (problem instanceof Problem && problem.code === "database_unavailable") return problem.message;
  }
  return null;
}

export function NotFound() {
  return (
    <main className="mx-auto max-w-xl p-8 text-center space-y-2">
      <h1 className="text-xl font-semibold">There is nothing here</h1>
      <p className="text-muted">The link may be old, or belong to another account.</p>
      <Link to="/" className="text-accent underline">
        Your projects
      </Link>
    </main>
  );
}
