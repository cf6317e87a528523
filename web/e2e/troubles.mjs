// What the page shows when the server has a problem.
import { closeSync, openSync, readdirSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { accessible, browser, enter, PASSWORD, Server, until } from "./stage.mjs";

/** Writes until there is no room. */
function fill(path) {
  const file = openSync(path, "w");
  try {
    for (;;) writeSync(file, Buffer.alloc(512));
  } catch (error) {
    if (error.code !== "ENOSPC") throw error;
  } finally {
    closeSync(file);
  }
}

test("a full disk is reported on every page until it is over", { timeout: 180_000 }, async (t) => {
  const server = await Server.start({ smallDisk: true });
  t.after(() => server.end());
  const chromium = await browser();
  t.after(() => chromium.close());
  const { name } = await server.project("me@example.org", "Sunday service");
  const page = await (await chromium.newContext()).newPage();
  page.setDefaultTimeout(30_000);
  await page.goto(`${server.url}/login`);
  await enter(page, "me@example.org", PASSWORD, "Log in");
  await page.getByText(name).waitFor();

  const disk = server.seen();
  let fills = 0;
  await until("a change is refused", async () => {
    fill(join(disk, `fill-${fills++}`));
    await page.getByLabel("New project").fill("One more");
    await page.getByRole("button", { name: "Create project" }).click();
    return page.getByText("The disk of the database is full").first().isVisible();
  });
  const said = page.getByTestId("trouble").filter({ hasText: "The disk of the database is full" });
  await said.waitFor();
  await accessible(page, "a full disk");
  if (process.env.PICTURES) await page.screenshot({ path: `${process.env.PICTURES}/trouble.png` });
  for (const file of readdirSync(disk)) if (file.startsWith("fill-")) rmSync(join(disk, file));
  await said.waitFor({ state: "detached" });
});
