import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { renderToStaticMarkup } from "react-dom/server";
import { expect, test } from "vitest";

import type { Project } from "../../api/client";
import { Incoming } from "./incoming";

/** The lines of the panel that tell of a notice, when the stream has these. */
function lines(notices: { code: string; message: string; since: string }[]): string[] {
  const project = { id: "p", destinations: [], stream: { video: null, audio: null, notices } };
  const page = document.createElement("div");
  page.innerHTML = renderToStaticMarkup(
    <QueryClientProvider client={new QueryClient()}>
      <Incoming project={project as unknown as Project} platforms={[]} />
    </QueryClientProvider>,
  );
  return [...page.querySelectorAll("[data-testid=notice]")].map((line) => line.textContent ?? "");
}

test("each notice of the stream is one line, in the order of the server", () => {
  const since = "2026-11-23T10:00:00Z";
  expect(lines([])).toEqual([]);
  const found = lines([
    { code: "start_codes", message: "Pictures are converted.", since },
    { code: "clock_drift", message: "Set <one> clock.", since },
  ]);
  expect(found).toEqual(["▲ Pictures are converted.", "▲ Set <one> clock."]);
});
