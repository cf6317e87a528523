// An intruder in an account, found and removed by its owner on the account page.
import assert from "node:assert/strict";
import { test } from "node:test";

import { accessible, enter, PASSWORD, stage } from "./stage.mjs";

const EMAIL = "me@example.org";
const NEW_PASSWORD = "purple stone over wind";

async function open(context, url) {
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  await page.goto(url);
  return page;
}

/** Readable and operable in both themes, on a phone and on a wide screen. */
async function fits(page) {
  for (const colorScheme of ["dark", "light"]) {
    for (const width of [390, 1440]) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 900 });
      const name = `${colorScheme}-${width}`;
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      assert.ok(overflow <= 0, `${name}: ${overflow} pixels too wide`);
      await accessible(page, name);
      if (process.env.PICTURES) {
        await page.screenshot({ path: `${process.env.PICTURES}/account-${name}.png`, fullPage: true });
      }
    }
  }
}

test("an intruder is found and removed on the account page", { timeout: 240_000 }, async (t) => {
  const { server, chromium, encode } = await stage(t);
  const { name, streamKey } = await server.project(EMAIL, "Sunday service");
  encode(streamKey);
  const [owner, intruder] = [await chromium.newContext(), await chromium.newContext()];
  const theirs = await open(intruder, `${server.url}/login`);
  await enter(theirs, EMAIL, PASSWORD, "Log in");
  await theirs.getByText(name).waitFor();
  await theirs.goto(`${server.url}/account`);
  await theirs.getByLabel("New token").fill("Innocent script");
  await theirs.getByLabel("Permissions").selectOption({ label: "Read only, without stream keys" });
  await theirs.getByLabel("Expires").selectOption({ label: "never" });
  await theirs.getByRole("button", { name: "Create token" }).click();
  await theirs.getByTestId("tokens").getByText("read only, does not expire, never used").waitFor();

  const page = await open(owner, `${server.url}/login`);
  await enter(page, EMAIL, PASSWORD, "Log in");
  await page.getByText(name).waitFor();
  await page.goto(`${server.url}/account`);
  const sessions = page.getByTestId("sessions").getByRole("listitem");
  const here = page.getByText("this browser", { exact: true });
  await sessions.filter({ has: here }).getByText("127.0.0.1").waitFor();
  // The session of the sign-up, the intruder's, and this one.
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
