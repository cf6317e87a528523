import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { renderToStaticMarkup } from "react-dom/server";
import { expect, test } from "vitest";

import type { Project } from "../../api/client";
import { Incoming, Uplink } from "./incoming";

type Notices = { code: string; message: string; since: string }[];

/** The page beside the destinations and the panel of what comes in, when the stream has these notices. */
function render(notices: Notices): HTMLElement {
  const project = { id: "p", destinations: [], stream: { video: null, audio: null, notices } };
  const page = document.createElement("div");
  page.innerHTML = renderToStaticMarkup(
    <QueryClientProvider client={new QueryClient()}>
      <Uplink project={project as unknown as Project} />
      <Incoming project={project as unknown as Project} platforms={[]} />
    </QueryClientProvider>,
  );
  return page;
}

/** The lines of the panel that tell of a notice. */
function lines(notices: Notices): string[] {
  const page = render(notices);
  return [...page.querySelectorAll("[data-testid=notice]")].map((line) => line.textContent ?? "");
}

test("each notice of the stream is one line, in the server's order", () => {
  const since = "2026-11-23T10:00:00Z";
  expect(lines([])).toEqual([]);
  const found = lines([
    { code: "start_codes", message: "Pictures are converted.", since },
    { code: "clock_drift", message: "Set <one> clock.", since },
  ]);
  expect(found).toEqual(["▲ Pictures are converted.", "▲ Set <one> clock."]);
});

test("a small uplink is reported once, with the destinations", () => {
  const since = "2026-11-23T10:00:00Z";
  const uplink = { code: "uplink_too_small", message: "Your server's uplink is too small: 4 …", since };
  const slow = { code: "slow_encoder", message: "Your encoder or its line manages 52 % …", since };
  expect(lines([uplink, slow])).toEqual(["▲ Your encoder or its line manages 52 % …"]);
  expect(render([uplink, slow]).querySelector("[role=alert]")?.textContent).toBe(`▲ ${uplink.message}`);
  expect(render([slow]).querySelector("[role=alert]")).toBeNull();
});
