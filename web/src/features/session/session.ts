// The current user, from the server: scripts cannot read the session cookie.
import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";

import { api, take, type User } from "../../api/client";

export const sessionQuery = queryOptions({
  queryKey: ["session"],
  queryFn: async (): Promise<User | null> => (await take(api.GET("/api/auth/session"))).user,
  staleTime: 60_000,
});

type Credentials = { email: string; password: string };

/** Logs in or signs up. */
export function useEnter(how: "login" | "signup") {
  const cache = useQueryClient();
  return useMutation({
    mutationFn: (body: Credentials) =>
      how === "login"
        ? take(api.POST("/api/auth/login", { body }))
        : take(api.POST("/api/auth/signup", { body })),
    onSuccess: ({ user }) => cache.setQueryData(sessionQuery.queryKey, user),
  });
}

/** Ends the session on the server and clears the cached data of the account. */
export function useLogout() {
  const cache = useQueryClient();
  return useMutation({
    mutationFn: () => take(api.POST("/api/auth/logout")),
    onSuccess: () => {
      cache.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== sessionQuery.queryKey[0] });
      cache.setQueryData(sessionQuery.queryKey, null);
    },
  });
}
