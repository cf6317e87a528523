import { renderToStaticMarkup } from "react-dom/server";
import { expect, test } from "vitest";

import { Unsynced } from "./unsynced";

test("pending changes are reported with their age, reason and advice", () => {
  const since = new Date(Date.now() - 42_500).toISOString();
  const page = document.createElement("div");
  page.innerHTML = renderToStaticMarkup(
    <Unsynced error={{ code: "rows_unreadable", message: "Ask <the> operator.", since }} />,
  );
  expect(page.querySelector("[role=status]")?.textContent).toBe(
    "▲ Changes to this project have not taken effect for 42 s. Ask <the> operator.",
  );
});
