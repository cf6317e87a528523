// An intruder in an account, seen and thrown out by its owner on the account page.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { encoder, browser as launch, PASSWORD, Server } from "./stage.mjs";

const AXE = readFileSync(new URL("../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const EMAIL = "me@example.org";
const NEW_PASSWORD = "purple stone over wind";

async function open(context, url) {
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  await page.goto(url);
  return page;
}

async function enter(page, button) {
  await page.getByLabel("Email").fill(EMAIL);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: button }).click();
}

/** Readable and operable in both themes, on a phone and on a wide screen. */
async function fits(page) {
  for (const colorScheme of ["dark", "light"]) {
    for (const width of [390, 1440]) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 900 });
      const name = `${colorScheme}-${width}`;
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      assert.ok(overflow <= 0, `${name}: ${overflow} pixels stick out`);
      await page.evaluate(AXE);
      const { violations } = await page.evaluate(() => window.axe.run());
      const grave = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
      assert.deepEqual(
        grave.map(({ id, nodes }) => `${name}: ${id} ${nodes[0].html}`),
        [],
      );
      if (process.env.PICTURES) {
        await page.screenshot({ path: `${process.env.PICTURES}/account-${name}.png`, fullPage: true });
      }
    }
  }
}

test("an intruder is seen on the account page, and thrown out there", { timeout: 240_000 }, async (t) => {
  const encoders = [];
  const [server, chromium] = [await Server.start(), await launch()];
  t.after(async () => {
    for (const child of encoders) child.kill("SIGKILL");
    await chromium.close();
    await server.end();
  });
  const { name, streamKey } = await server.project(EMAIL, "Sunday service");
  encoders.push(encoder(`rtmp://127.0.0.1:${server.rtmp}/live/${streamKey}`));
  const [owner, intruder] = [await chromium.newContext(), await chromium.newContext()];
  const theirs = await open(intruder, `${server.url}/login`);
  await enter(theirs, "Log in");
  await theirs.getByText(name).waitFor();
  await theirs.goto(`${server.url}/account`);
  await theirs.getByLabel("New token").fill("Innocent script");
  await theirs.getByLabel("It may do").selectOption({ label: "Only look, without stream keys" });
  await theirs.getByLabel("It ends").selectOption({ label: "never" });
  await theirs.getByRole("button", { name: "Make token" }).click();
  await theirs.getByTestId("tokens").getByText("only looks, does not end, never used").waitFor();

  const page = await open(owner, `${server.url}/login`);
  await enter(page, "Log in");
  await page.getByText(name).waitFor();
  await page.goto(`${server.url}/account`);
  const sessions = page.getByTestId("sessions").getByRole("listitem");
  const here = page.getByText("here", { exact: true });
  await sessions.filter({ has: here }).getByText("127.0.0.1").waitFor();
  // That of the sign-up, the intruder's, and this one.
  assert.equal(await sessions.count(), 3);
  await sessions.getByText("last seen").first().waitFor();
  await page.getByTestId("tokens").getByText("Innocent script").waitFor();
  await page.getByTestId("on-air").getByText(name).waitFor();
  await fits(page);

  await page.getByLabel("Current password").fill(PASSWORD);
  await page.getByLabel("New password").fill(NEW_PASSWORD);
  const form = page.locator("form").filter({ hasText: "Change password" });
  await form.getByLabel("Give every project a new stream key").check();
  await form.getByRole("button", { name: "Change and sign out everywhere else" }).click();
  await form.getByRole("status").waitFor();
  await page.getByText("Nothing is live.").waitFor();
  await page.getByTestId("tokens").getByText("Innocent script").waitFor({ state: "detached" });
  await sessions.nth(1).waitFor({ state: "detached" });
  await page.reload();
  await sessions.filter({ has: here }).waitFor();
  await theirs.reload();
  await theirs.getByRole("heading", { name: "Log in" }).waitFor();

  await page.getByRole("button", { name: "Sign out everywhere", exact: true }).click();
  await page.getByRole("heading", { name: "Log in" }).waitFor();
});
