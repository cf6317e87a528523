// A real Caddy with compression buffers the event stream until there is enough to compress: the page detects it, polls instead,
// says so, and returns to the stream when the proxy passes it on.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { accessible, enter, freePort, PASSWORD, stage, until } from "./stage.mjs";

const CADDY = process.env.CADDY_BIN ?? "caddy";
const EMAIL = "me@example.org";

/** Caddy in front of a server; `options` are lines of its site. */
async function caddy(t, server, port, options) {
  const file = join(server.data, "Caddyfile");
  const site = `http://127.0.0.1:${port} {\n${options}\nreverse_proxy 127.0.0.1:${server.http}\n}\n`;
  writeFileSync(file, `{\nadmin off\nauto_https off\n}\n${site}`);
  const args = ["run", "--config", file, "--adapter", "caddyfile"];
  const env = { ...process.env, HOME: server.data, XDG_DATA_HOME: server.data, XDG_CONFIG_HOME: server.data };
  const child = spawn(CADDY, args, { stdio: "ignore", env });
  const end = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((done) => child.once("exit", done));
    child.kill("SIGKILL");
    await gone;
  };
  t.after(end);
  child.once("error", (error) => {
    throw new Error(`${CADDY} does not start (${error.message}); \`make test\` installs it`);
  });
  const url = `http://127.0.0.1:${port}`;
  await until("Caddy answers", async () => (await fetch(`${url}/readyz`).catch(() => ({}))).ok);
  return { url, end };
}

test("behind a buffering proxy the page polls, and says so", { timeout: 240_000 }, async (t) => {
  const { server, chromium, encode } = await stage(t);
  const { name, streamKey } = await server.project(EMAIL, "Sunday service");
  const port = await freePort();
  const compressing = await caddy(t, server, port, "encode gzip");

  const page = await (await chromium.newContext()).newPage();
  page.setDefaultTimeout(30_000);
  await page.goto(`${compressing.url}/login`);
  await enter(page, EMAIL, PASSWORD, "Log in");
  await page.getByText(name).click();
  await page.getByTestId("waiting").waitFor();
  await page.getByTestId("held-back").waitFor({ timeout: 15_000 });
  await accessible(page, "held back");
  if (process.env.PICTURES) await page.screenshot({ path: `${process.env.PICTURES}/held-back.png` });

  const encoder = encode(streamKey);
  const state = page.getByTestId("project-state").filter({ hasText: "LIVE" });
  await state.waitFor({ timeout: 15_000 });
  const gone = new Promise((done) => encoder.once("exit", done));
  encoder.kill("SIGTERM");
  await gone;
  await page.getByTestId("waiting").waitFor({ timeout: 15_000 });

  const followed = page.waitForResponse((response) => response.url().endsWith("/events"));
  await compressing.end();
  await page.getByTestId("away").waitFor();
  await caddy(t, server, port, "");
  await page.getByTestId("away").waitFor({ state: "detached" });
  await page.getByTestId("held-back").waitFor({ state: "detached" });
  await followed;
  encode(streamKey);
  await state.waitFor();
});

test("refused events are not blamed on a proxy", {
  timeout: 240_000,
}, async (t) => {
  const { server, chromium, encode } = await stage(t);
  const { name, streamKey } = await server.project(EMAIL, "Sunday service");
  const port = await freePort();
  const why = "Close a page, or a script, that follows.";
  const problem = JSON.stringify({
    type: "about:blank",
    title: "Forbidden",
    status: 403,
    code: "quota_exceeded",
    detail: why,
  });
  const refuses = `@events path /api/projects/*/events\nheader @events Content-Type application/problem+json\nrespond @events \`${problem}\` 403`;
  const refusing = await caddy(t, server, port, refuses);

  const page = await (await chromium.newContext()).newPage();
  page.setDefaultTimeout(30_000);
  let asked = 0;
  page.on("request", (request) => (asked += request.url().endsWith("/events") ? 1 : 0));
  await page.goto(`${refusing.url}/login`);
  await enter(page, EMAIL, PASSWORD, "Log in");
  await page.getByText(name).click();
  await page.getByTestId("refused").filter({ hasText: why }).waitFor();
  await accessible(page, "refused");
  encode(streamKey);
  await page.getByTestId("project-state").filter({ hasText: "LIVE" }).waitFor({ timeout: 15_000 });
  assert.equal(await page.getByTestId("held-back").count(), 0);
  assert.ok(asked >= 2 && asked <= 6, `asked ${asked} times`);

  await refusing.end();
  await page.getByTestId("away").waitFor();
  await caddy(t, server, port, "");
  await page.getByTestId("away").waitFor({ state: "detached" });
  await page.getByTestId("refused").waitFor({ state: "detached", timeout: 60_000 });
});
