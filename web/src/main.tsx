import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { Problem } from "./api/client";
import { makeRouter } from "./app/router";
import "./app/styles.css";
import { sessionQuery } from "./features/session/session";

const cache = new QueryClient({
  defaultOptions: {
    queries: {
      // What the server refused it will refuse again; what did not reach it may.
      retry: (count, error) =>
        count < 2 && !(error instanceof Problem && error.status >= 400 && error.status < 500),
      networkMode: "always",
    },
    // A browser that believes it is offline may be on the server's own machine, or in its local network.
    mutations: { networkMode: "always" },
  },
});
// A session that ended shows everywhere at once.
cache.getQueryCache().subscribe(({ query }) => {
  const { error } = query.state;
  if (error instanceof Problem && error.status === 401) cache.setQueryData(sessionQuery.queryKey, null);
});

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={cache}>
        <RouterProvider router={makeRouter(cache)} />
      </QueryClientProvider>
    </StrictMode>,
  );
}
