// User journeys through the page, against the real server: `npm run e2e`. `npm run screenshots` saves screenshots.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

import { accessible, enter, PASSWORD, Server, stage, until } from "./stage.mjs";

const SCREENSHOTS = Boolean(process.env.SCREENSHOTS);
const PICTURES = new URL("../../docs/screenshots/", import.meta.url).pathname;

/** Opens a page whose console must stay empty. `expected` are patterns of errors that a step provokes. */
async function open(context, server, path, expected = []) {
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const said = [];
  page.on("console", (message) => {
    const text = `${message.text()} ${message.location().url ?? ""}`;
    if (["error", "warning"].includes(message.type()) && !expected.some((pattern) => pattern.test(text))) {
      said.push(text);
    }
  });
  page.on("pageerror", (error) => said.push(String(error)));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol.startsWith("http") && url.origin !== server.url) said.push(`request to ${url.origin}`);
  });
  page.quiet = () => assert.deepEqual(said, [], "the console is empty");
  await page.goto(server.url + path);
  return page;
}

async function picture(page, name) {
  if (!SCREENSHOTS) return;
  mkdirSync(PICTURES, { recursive: true });
  await page.screenshot({ path: `${PICTURES}${name}.png` });
}

async function signUp(page, email) {
  await enter(page, email, PASSWORD, "Create account");
  await page.getByLabel("Name your first project").waitFor();
}

async function makeProject(page, name) {
  await page.getByLabel("Name your first project").fill(name);
  await page.getByRole("button", { name: "Create project" }).click();
  await page.getByTestId("waiting").waitFor();
}

async function fillDestination(page, name, url, key) {
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name", { exact: true }).fill(name);
  await dialog.getByLabel("Server URL", { exact: true }).fill(url);
  await dialog.getByLabel("Stream key").fill(key);
  await dialog.getByRole("button", { name: "Add destination" }).click();
}

async function addDestination(page, name, url, key) {
  const first = (await page.getByTestId("destination").count()) === 0;
  if (!first) await page.getByRole("button", { name: "Add destination" }).click();
  await page.getByRole("button", { name: /Another server/ }).click();
  await fillDestination(page, name, url, key);
  await page.getByRole("dialog").waitFor({ state: "detached" });
}

const card = (page, name) => page.getByTestId("destination").filter({ hasText: name });
const state = (page, name, word) =>
  card(page, name).getByTestId("relay-state").filter({ hasText: word }).waitFor();
const project = (page, word) => page.getByTestId("project-state").filter({ hasText: word }).waitFor();

/** Waits until the preview plays: its time advances, and the picture changes. */
async function plays(page) {
  const look = () =>
    page.getByTestId("preview").evaluate((video) => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [32, 18];
      const context = canvas.getContext("2d");
      context.drawImage(video, 0, 0, 32, 18);
      return { time: video.currentTime, pixels: [...context.getImageData(0, 0, 32, 18).data].join() };
    });
  const first = await until("the preview plays", async () => {
    const seen = await look();
    return seen.time > 0 && seen;
  });
  await until("the picture moves", async () => {
    const seen = await look();
    return seen.time > first.time + 1 && seen.pixels !== first.pixels;
  });
}

test("from sign-up to live on two destinations, an encoder interruption, and the end", {
  timeout: 180_000,
}, async (t) => {
  const { server, chromium, encode } = await stage(t);
  const platforms = await Server.start();
  t.after(() => platforms.end());
  const one = await platforms.project("a@example.org", "One");
  const two = await platforms.project("b@example.org", "Two");
  const context = await chromium.newContext({
    viewport: { width: 1440, height: 960 },
    colorScheme: "dark",
    permissions: ["clipboard-read", "clipboard-write"],
  });
  const page = await open(context, server, "/signup");
  await accessible(page, "sign-up");
  await signUp(page, "me@example.org");
  await accessible(page, "projects");
  await makeProject(page, "Sunday service");
  await accessible(page, "waiting");
  await picture(page, "waiting");

  // The key is masked, and can be copied without being shown.
  assert.match(await page.getByTestId("value-Stream key").textContent(), /^•+$/);
  await page.getByRole("button", { name: "Copy" }).nth(1).click();
  const streamKey = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(streamKey, /^[0-9a-f-]{36}$/);

  // A mistyped key is shown on the waiting page.
  const mistyped = encode(`${streamKey}x`);
  await page.getByTestId("unknown-key").filter({ hasText: "from 127.0.0.1" }).waitFor();
  mistyped.kill("SIGKILL");

  const to = `rtmp://127.0.0.1:${platforms.rtmp}/live`;
  await addDestination(page, "Main channel", to, one.streamKey);
  await addDestination(page, "Second channel", to, two.streamKey);
  await accessible(page, "destinations");

  const first = encode(streamKey);
  await project(page, "LIVE");
  await plays(page);
  await page.getByTestId("incoming").filter({ hasText: "640×360" }).waitFor();

  await page.getByRole("button", { name: "Start all" }).click();
  await Promise.all([state(page, "Main channel", "live"), state(page, "Second channel", "live")]);
  await accessible(page, "live");
  if (SCREENSHOTS) await page.waitForTimeout(20_000);
  await picture(page, "live");
  await card(page, "Second channel").getByRole("button", { name: "Stop" }).click();
  await state(page, "Second channel", "off");
  await state(page, "Main channel", "live");

  // A backup server has a separate connection.
  await card(page, "Second channel").getByRole("button", { name: "Edit" }).click();
  await page.getByText("Backup server", { exact: true }).click();
  await page.getByLabel("Backup server URL").fill(`${to}/`);
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });

  // A short network failure.
  first.kill("SIGKILL");
  await page.getByTestId("reconnecting").filter({ hasText: "connected for another" }).waitFor();
  await picture(page, "reconnecting");
  await state(page, "Main channel", "live");
  const second = encode(streamKey);
  await project(page, "LIVE");
  await plays(page);

  // The same on a phone, with the light theme.
  const phone = await chromium.newContext({
    viewport: { width: 360, height: 780 },
    storageState: await context.storageState(),
    colorScheme: "light",
  });
  const small = await open(phone, server, new URL(page.url()).pathname);
  await project(small, "LIVE");
  const overflow = await small.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(overflow <= 0, `the page is ${overflow} px wider than the phone`);
  await accessible(small, "phone");
  await plays(small);
  await picture(small, "phone");
  small.quiet();

  // The small preview in the list plays as well.
  const list = await open(context, server, "/");
  await until("the small preview plays", () =>
    list.getByTestId("small-preview").evaluate((video) => video.currentTime > 0),
  );
  await accessible(list, "list");
  await picture(list, "projects");
  list.quiet();

  // A clean stop ends the stream, and the page shows a summary.
  second.kill("SIGTERM");
  await page
    .getByTestId("just-over")
    .filter({ hasText: /to (one|2) platform/ })
    .waitFor();
  await page.getByTestId("just-over").getByRole("button", { name: "Report" }).click();
  await page.getByTestId("report").getByText("Main channel: live", { exact: true }).first().waitFor();
  await accessible(page, "report");
  await picture(page, "report");
  const download = page.waitForEvent("download");
  await page.getByRole("link", { name: "Download as JSON" }).click();
  const report = JSON.parse(readFileSync(await (await download).path(), "utf8"));
  assert.ok(report.events.some(({ state }) => state === "ended"));
  await page.getByRole("button", { name: "Close" }).click();
  encode(streamKey);
  await project(page, "LIVE");

  // Deleting while live requires typing the name.
  await page.getByTestId("project").getByRole("button", { name: "Delete" }).first().click();
  const remove = page.getByRole("button", { name: "Delete project" });
  assert.ok(await remove.isDisabled(), "the name must be typed");
  await page.getByLabel(/Type “Sunday service”/).fill("Sunday service");
  await remove.click();
  await page.getByLabel("Name your first project").waitFor();
  page.quiet();
});

test("failures are reported in words", { timeout: 120_000 }, async (t) => {
  const { server, chromium } = await stage(t);
  const refused = [/Failed to load resource/, /ERR_/];
  const context = await chromium.newContext();
  const page = await open(context, server, "/signup", refused);
  await enter(page, "not an address", "short", "Create account");
  await page.getByRole("alert").first().waitFor();
  await signUp(page, "me@example.org");
  await makeProject(page, "First");
  const first = new URL(page.url()).pathname;

  // An invalid URL.
  await page.getByRole("button", { name: /Another server/ }).click();
  await fillDestination(page, "Wrong", "https://example.org/live", "k");
  await page.getByRole("alert").filter({ hasText: "rtmp://" }).waitFor();
  await page.getByRole("button", { name: "Close" }).click();

  // A forbidden pull source: it is saved, and the page shows the error.
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByLabel("Pull from another server").fill("https://10.0.0.1/live");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("alert").filter({ hasText: "rtmp://" }).waitFor();
  await page.getByLabel("Pull from another server").fill("rtmp://10.0.0.1/live");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.getByRole("alert").filter({ hasText: "private network" }).waitFor();

  // A browser that reports being offline (no Internet, with the server on this machine) still sends requests.
  await page.evaluate(() => window.dispatchEvent(new Event("offline")));
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByLabel("Pull from another server").fill("");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.getByRole("alert").waitFor({ state: "detached" });
  await page.evaluate(() => window.dispatchEvent(new Event("online")));

  // Two tabs: each shows the changes of the other.
  const second = await open(context, server, first, refused);
  await second.getByTestId("waiting").waitFor();
  await addDestination(second, "From the other tab", "rtmp://127.0.0.1:9/live", "k");
  await card(page, "From the other tab").waitFor();

  // The server stops and restarts while the page is open.
  await server.down();
  await page.getByTestId("away").waitFor();
  await server.up();
  await page.getByTestId("away").waitFor({ state: "detached" });

  // A taken email address, a link of another account, a wrong password.
  const stranger = await chromium.newContext();
  const other = await open(stranger, server, "/signup", refused);
  await enter(other, "me@example.org", PASSWORD, "Create account");
  await other.getByRole("alert").filter({ hasText: "already" }).waitFor();
  await signUp(other, "you@example.org");
  await other.goto(server.url + first);
  await other.getByText("There is nothing here").waitFor();
  await other.goto(`${server.url}/account`);
  await other.getByTestId("sessions").getByText("this browser").waitFor();
  await other.getByLabel("New token").fill("Stream deck");
  await other.getByRole("button", { name: "Create token" }).click();
  await other.getByTestId("tokens").getByText("Stream deck").waitFor();
  await other.getByText("Account activity").click();
  await other.getByTestId("audit").getByText("Token created: Stream deck").waitFor();
  await accessible(other, "account");
  await other.getByRole("button", { name: "Sign out everywhere", exact: true }).click();
  await other.getByRole("heading", { name: "Log in" }).waitFor();
  await accessible(other, "login");
  await enter(other, "you@example.org", "quite wrong this one", "Log in");
  await other.getByRole("alert").waitFor();
  for (const each of [page, second, other]) each.quiet();
});

test("user text is shown as text and never executed", { timeout: 120_000 }, async (t) => {
  const { server, chromium, encode } = await stage(t);
  const ran = [];
  const context = await chromium.newContext();
  await context.exposeFunction("ran", (what) => ran.push(what));
  await context.addInitScript(() =>
    document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
      window.ran(`${violatedDirective} ${blockedURI}`),
    ),
  );
  const names = {
    project: `<img src=x onerror="ran('project')">`,
    destination: `"><svg onload="ran('destination')"></svg>`,
    token: `<script>ran("token")</script>{{7*7}}`,
  };
  // Injected markup would be detected.
  const proof = await context.newPage();
  await proof.goto(server.url);
  await proof.evaluate((html) => document.body.insertAdjacentHTML("beforeend", html), names.project);
  await until("the policy stops it", () => ran.splice(0).length > 0);
  await proof.close();

  const page = await open(context, server, "/signup");
  const shown = (name) => page.getByText(name).first().waitFor();
  await signUp(page, "me@example.org");
  await makeProject(page, names.project);
  await addDestination(page, names.destination, "rtmp://127.0.0.1:9/live", names.token);
  await card(page, names.destination).waitFor();
  await shown(names.project);

  // The names are in the list, in the report of a stream, and in a dialog.
  const { streamKey } = (await (await context.request.get(`${server.url}/api/projects`)).json())[0];
  const child = encode(streamKey);
  await project(page, "LIVE");
  await card(page, names.destination).getByRole("button", { name: "Start" }).click();
  await state(page, names.destination, "retrying");
  await page.getByTestId("project").getByRole("button", { name: "Delete" }).first().click();
  await page.getByLabel(`Type “${names.project}”`).waitFor();
  await page.keyboard.press("Escape");
  child.kill("SIGTERM");
  await page.getByTestId("just-over").getByRole("button", { name: "Report" }).click();
  await page.getByTestId("report").getByText(names.destination).first().waitFor();
  await page.getByRole("button", { name: "Close" }).click();
  await page.goto(server.url);
  await shown(names.project);

  await page.goto(`${server.url}/account`);
  await page.getByLabel("New token").fill(names.token);
  await page.getByRole("button", { name: "Create token" }).click();
  await page.getByTestId("tokens").getByText(names.token).waitFor();
  await page.getByText("Account activity").click();
  await page.getByTestId("audit").getByText(`Token created: ${names.token}`).waitFor();
  assert.deepEqual(ran, [], "nothing ran, and the policy blocked nothing");
  page.quiet();
});

test("files are cached and compressed", async (t) => {
  const server = await Server.start();
  t.after(() => server.end());
  const ask = (path, headers = {}) =>
    fetch(server.url + path, { headers: { accept: "text/html", ...headers } });
  const page = await ask("/projects/some-id");
  assert.equal(page.status, 200, "the page's router knows the path");
  assert.equal(page.headers.get("cache-control"), "no-cache");
  const policy = page.headers.get("content-security-policy");
  assert.match(policy, /script-src 'self';/);
  assert.doesNotMatch(policy, /unsafe/);
  const again = await ask("/", { "if-none-match": page.headers.get("etag") });
  assert.equal(again.status, 304);

  let first = 0;
  for (const [, path] of (await page.text()).matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g)) {
    const file = await ask(path, { "accept-encoding": "gzip" });
    assert.match(file.headers.get("cache-control"), /immutable/);
    assert.equal(file.headers.get("content-encoding"), "gzip");
    const { headers } = await ask(path, { "accept-encoding": "br, gzip" });
    assert.equal(headers.get("content-encoding"), "br");
    first += Number(file.headers.get("content-length"));
  }
  assert.ok(first > 10_000 && first < 250_000, `the first load takes ${first} bytes`);
  assert.equal((await ask("/assets/nothing.js")).status, 404);
  assert.equal((await fetch(`${server.url}/nothing`)).status, 404, "programs get a 404");
});
