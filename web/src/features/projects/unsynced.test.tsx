import { renderToStaticMarkup } from "react-dom/server";
import { expect, test } from "vitest";

import { Unsynced } from "./unsynced";

test("changes that wait are told with since when, why and what to do", () => {
  const since = new Date(Date.now() - 42_500).toISOString();
  const page = document.createElement("div");
  page.innerHTML = renderToStaticMarkup(
    <Unsynced error={{ code: "rows_unreadable", message: "Ask <the> operator.", since }} />,
  );
  expect(page.querySelector("[role=status]")?.textContent).toBe(
    "▲ Changes to this project have not been carried out for 42 s. Ask <the> operator.",
  );
});
