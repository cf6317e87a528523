// The query cache of the page. It detects the end of the session from refusals.
import { MutationCache, QueryCache, QueryClient } from "@tanstack/react-query";

import { beginLogin, Problem, type User } from "../api/client";
import { sessionQuery } from "../features/session/session";

/** A query cache that ends the session on this page when a request is refused because of it. */
export function makeCache(): QueryClient {
  const onError = (error: Error) => {
    if (error instanceof Problem && error.endsLogin) cache.setQueryData(sessionQuery.queryKey, null);
  };
  const cache = new QueryClient({
    queryCache: new QueryCache({ onError }),
    mutationCache: new MutationCache({ onError }),
    defaultOptions: {
      queries: {
        // Refusals are not retried; network failures are.
        retry: (count, error) =>
          count < 2 && !(error instanceof Problem && error.status >= 400 && error.status < 500),
        networkMode: "always",
      },
      // A browser that reports being offline may be on the server's machine, or in its local network.
      mutations: { networkMode: "always" },
    },
  });
  let known: string | undefined;
  cache.getQueryCache().subscribe((event) => {
    if (event.type !== "updated" || event.action.type !== "success") return;
    if (event.query.queryKey[0] !== sessionQuery.queryKey[0]) return;
    const user = event.query.state.data as User | null | undefined;
    if (user && user.id !== known) beginLogin();
    known = user?.id;
  });
  return cache;
}
