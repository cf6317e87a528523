// Shared by the journeys: the real server, FFmpeg as encoder, a second server as platform, and Chromium.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const BINARY = process.env.SERVER_BIN ?? new URL("../../target/debug/gostream", import.meta.url).pathname;
const CHROMIUM = process.env.CHROMIUM_BIN ?? "/usr/bin/chromium";
const AXE = readFileSync(new URL("../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
export const PASSWORD = "quiet lamp under rain";

export async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

/** Waits until `look` gives something, and says what was waited for if it never does. */
export async function until(what, look, patience = 30_000) {
  const end = Date.now() + patience;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`never: ${what}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

/** Whatever runs ends with this process, however a journey ended. */
const running = new Set();
process.on("exit", () => {
  for (const each of running) each.child?.kill("SIGKILL");
});

/** Makes a disk of 3 MiB for the data directory, which only the server sees, and becomes the server. */
const ON_SMALL_DISK = [
  ...["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"],
  'mount -t tmpfs -o size=3m,mode=700 tmpfs "$GOSTREAM_DATA_DIR" && exec "$0"',
];

/** A running server with a data directory of its own. It can be killed and started again. */
export class Server {
  static async start({ smallDisk = false } = {}) {
    const server = new Server();
    server.smallDisk = smallDisk;
    running.add(server);
    server.data = mkdtempSync(join(tmpdir(), "gostream-e2e-"));
    [server.http, server.rtmp] = [await freePort(), await freePort()];
    await server.up();
    return server;
  }

  async up() {
    const [program, ...args] = this.smallDisk ? [...ON_SMALL_DISK, BINARY] : [BINARY];
    this.child = spawn(program, args, {
      cwd: this.data,
      stdio: "ignore",
      env: {
        ...process.env,
        GOSTREAM_DATA_DIR: this.data,
        GOSTREAM_HTTP_LISTEN: `127.0.0.1:${this.http}`,
        GOSTREAM_RTMP_LISTEN: `127.0.0.1:${this.rtmp}`,
        GOSTREAM_METRICS_LISTEN: "127.0.0.1:0",
        GOSTREAM_EGRESS_ALLOW: "127.0.0.0/8",
      },
    });
    await until("the server is ready", async () => (await fetch(`${this.url}/readyz`).catch(() => ({}))).ok);
  }

  /** The data directory as the server sees it. */
  seen() {
    return join(`/proc/${this.child.pid}/root`, this.data);
  }

  get url() {
    return `http://127.0.0.1:${this.http}`;
  }

  /** An account with a project that can be sent to, as another server's would be. */
  async project(email, name) {
    const call = async (path, body, token) => {
      const headers = {
        "content-type": "application/json",
        ...(token && { authorization: `Bearer ${token}` }),
      };
      return (await fetch(this.url + path, { method: "POST", headers, body: JSON.stringify(body) })).json();
    };
    const { token } = await call("/api/auth/signup", { email, password: PASSWORD });
    return call("/api/projects", { name }, token);
  }

  async down(signal = "SIGKILL") {
    const gone = new Promise((done) => this.child.once("exit", done));
    this.child.kill(signal);
    await gone;
  }

  async end() {
    await this.down();
    rmSync(this.data, { recursive: true, force: true });
  }
}

/** FFmpeg sending a moving picture and a tone. */
function encoder(url) {
  const input = `-re -f lavfi -i testsrc2=size=640x360:rate=30 -f lavfi -i sine=frequency=440:sample_rate=48000`;
  const output =
    "-c:v libx264 -preset ultrafast -tune zerolatency -pix_fmt yuv420p -b:v 1500k -g 60 -c:a aac -b:a 96k -f flv";
  const options = `-hide_banner -loglevel error ${input} ${output}`.split(" ");
  return spawn("ffmpeg", [...options, url], { stdio: "ignore" });
}

/** Chromium, with no way out to the internet and nothing to say to its maker. */
export async function browser() {
  const found = spawnSync(CHROMIUM, ["--version"]).status === 0;
  if (!found) throw new Error(`${CHROMIUM} is missing; \`make test\` installs it`);
  return chromium.launch({
    executablePath: CHROMIUM,
    args: [
      "--no-sandbox",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--autoplay-policy=no-user-gesture-required",
    ],
  });
}

/** What a test needs, until it ends: a server, a browser, and a function that starts an encoder for that server. */
export async function stage(t) {
  const encoders = [];
  const [server, chromium] = [await Server.start(), await browser()];
  t.after(async () => {
    for (const child of encoders) child.kill("SIGKILL");
    await chromium.close();
    await server.end();
  });
  const encode = (key) => {
    const child = encoder(`rtmp://127.0.0.1:${server.rtmp}/live/${key}`);
    encoders.push(child);
    return child;
  };
  return { server, chromium, encode };
}

/** Email and password, and the button below them. */
export async function enter(page, email, password, button) {
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: button }).click();
}

/** Nothing that a screen reader or keyboard stumbles over. Judged when no colour changes any more. */
export async function accessible(page, name) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(async () => {
    const passing = () =>
      document.getAnimations().filter((each) => each.effect.getComputedTiming().endTime !== Infinity);
    while (passing().length) await Promise.allSettled(passing().map((each) => each.finished));
    return window.axe.run();
  });
  const grave = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  const told = grave.map(({ id, nodes }) => `${name}: ${id} ${nodes[0].html}`);
  assert.deepEqual(told, []);
}
