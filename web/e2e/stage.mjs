// What the journeys stand on: the real server, a real FFmpeg as encoder, a second server as platform, a real Chromium.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const BINARY = process.env.SERVER_BIN ?? new URL("../../target/debug/gostream", import.meta.url).pathname;
const CHROMIUM = process.env.CHROMIUM_BIN ?? "/usr/bin/chromium";
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

/** A running server with a data directory of its own. It can be killed and started again. */
export class Server {
  static async start() {
    const server = new Server();
    running.add(server);
    server.data = mkdtempSync(join(tmpdir(), "gostream-e2e-"));
    [server.http, server.rtmp] = [await freePort(), await freePort()];
    await server.up();
    return server;
  }

  async up() {
    this.child = spawn(BINARY, [], {
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
export function encoder(url, size = "640x360") {
  const input = `-re -f lavfi -i testsrc2=size=${size}:rate=30 -f lavfi -i sine=frequency=440:sample_rate=48000`;
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
