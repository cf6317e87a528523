import { QueryClient } from "@tanstack/react-query";
import { afterEach, expect, it, vi } from "vitest";

import { api, type Project } from "../../api/client";
import { projectQuery } from "./follow";

afterEach(() => vi.restoreAllMocks());

const named = (name: string) => ({ id: "p", name, destinations: [] }) as unknown as Project;

it("a response that an event overtook does not replace the event's data", async () => {
  const cache = new QueryClient();
  const get = vi.spyOn(api, "GET");
  /** Asks; what it returns lets the server answer. */
  const ask = () => {
    let answer: (result: unknown) => void = () => undefined;
    get.mockReturnValueOnce(new Promise((resolve) => (answer = resolve)) as never);
    const done = cache.fetchQuery({ ...projectQuery("p"), staleTime: 0 });
    return async (name: string) => {
      answer({ data: named(name), response: new Response() });
      await done;
      return cache.getQueryData(projectQuery("p").queryKey)?.name;
    };
  };
  expect(await ask()("first")).toBe("first");
  const late = ask();
  cache.setQueryData(projectQuery("p").queryKey, named("from an event"));
  expect(await late("from before the event")).toBe("from an event");
  expect(await ask()("from after the event")).toBe("from after the event");
});
