import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, useNavigate } from "@tanstack/react-router";
import { useEffect } from "react";

import { sessionQuery } from "../features/session/session";

/** What stands around every page of a logged-in person. */
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
      <Outlet />
    </>
  );
}

export function NotFound() {
  return (
    <main className="mx-auto max-w-xl p-8 text-center space-y-2">
      <h1 className="text-xl font-semibold">There is nothing here</h1>
      <p className="text-muted">The link may be old, or belong to somebody else's account.</p>
      <Link to="/" className="text-accent underline">
        To your projects
      </Link>
    </main>
  );
}
