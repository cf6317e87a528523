// Streams of odd encoders in a real Chromium: the page's preview and a player of the classic HLS play without interruption from
// the first picture to the end. `ODD_CASES=c8,c24` plays only these.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { enter, PASSWORD, stage, until } from "./stage.mjs";

const ENCODER =
  process.env.ODD_ENCODER ?? new URL("../../target/debug/examples/odd_encoder", import.meta.url).pathname;
const HLS = readFileSync(new URL("../node_modules/hls.js/dist/hls.light.min.js", import.meta.url), "utf8");

/** The streams that `odd_encoder` knows. */
const CASES = {
  c0: "an ordinary stream",
  c1c: "pictures that leave the encoder late",
  c8: "empty NAL units",
  c14: "a program config element",
  c18: "presentation times as tag times",
  c23b: "MP3 beside pictures",
  c24: "sound that is away for ten seconds",
  c27: "interlaced pictures",
  c29: "a camera that is turned twice",
};
/** hls.js takes no AAC without a channel configuration out of MPEG-TS; there it is for players that do. */
const PREVIEW_ALONE = ["c14"];
const chosen = (process.env.ODD_CASES || Object.keys(CASES).join()).split(",").filter((id) => id in CASES);

/** The number of streams that two cores decode at once. */
const AT_ONCE = 3;
const FPS = 30;
/** From the first message to the first picture: a GOP, a segment, and what hls.js wants to have before it plays. */
const START_PATIENCE_MS = 12_000;
/** A viewer notices. A change of the codec's header costs up to two seconds: the old buffer ends, the new one begins. */
const STANDSTILL_MS = 2_500;
/** Of the pictures that were sent while it played, at least this share is decoded: hls.js may skip at the beginning. */
const DECODED_SHARE = 0.8;

/** Adds a second player to the page, for the classic form. */
const playClassic = (url) => {
  const video = document.createElement("video");
  video.dataset.testid = "classic";
  video.muted = true;
  document.body.append(video);
  const start = () => {
    const hls = new window.Hls();
    hls.on(window.Hls.Events.ERROR, (_, { fatal }) => {
      if (!fatal) return;
      hls.destroy();
      setTimeout(start, 1_000);
    });
    hls.on(window.Hls.Events.MANIFEST_PARSED, () => video.play());
    hls.loadSource(url);
    hls.attachMedia(video);
  };
  start();
};

/** Where both players are, and how many pictures they decoded. */
const look = () =>
  ["preview", "classic"].map((id) => {
    const video = document.querySelector(`video[data-testid=${id}]`);
    const frames = video?.getVideoPlaybackQuality().totalVideoFrames ?? 0;
    return { time: video?.currentTime ?? 0, frames };
  });

/** Follows one player: when it began, and how long it stood still at most. */
class Follower {
  longest = 0;

  see({ time, frames }, now) {
    this.frames = Math.max(frames, this.frames ?? 0);
    if (time === 0 || frames === 0) return;
    this.began ??= { now, frames };
    if (this.moved !== undefined && time !== this.time)
      this.longest = Math.max(this.longest, now - this.moved);
    if (time !== this.time) [this.time, this.moved] = [time, now];
  }

  /** What is wrong, when the stream was sent from `sent` to `ended`. */
  verdict(name, sent, ended) {
    if (!this.began) return [`${name}: not one picture`];
    const wrong = [];
    const waited = this.began.now - sent;
    if (waited > START_PATIENCE_MS) wrong.push(`${name}: the first picture after ${waited} ms`);
    const longest = Math.max(this.longest, ended - this.moved);
    if (longest > STANDSTILL_MS) wrong.push(`${name}: stood still for ${longest} ms`);
    const [decoded, due] = [this.frames - this.began.frames, ((ended - this.began.now) / 1_000) * FPS];
    if (decoded < due * DECODED_SHARE) wrong.push(`${name}: ${decoded} pictures of ${Math.round(due)}`);
    return wrong;
  }
}

/** Sends a stream and watches it. Gives what is wrong. */
async function play(server, chromium, id) {
  const email = `${id}@example.org`;
  const { streamKey, id: project } = await server.project(email, CASES[id]);
  // The page's policy allows only its own scripts; the second player is another one.
  const context = await chromium.newContext({ bypassCSP: true });
  const page = await context.newPage();
  await page.goto(`${server.url}/login`);
  await enter(page, email, PASSWORD, "Log in");
  await page.getByText(CASES[id]).first().waitFor();
  await page.goto(`${server.url}/projects/${project}`);
  await page.addScriptTag({ content: HLS });

  const child = spawn(ENCODER, [`127.0.0.1:${server.rtmp}`, streamKey, id]);
  let ended;
  child.once("exit", () => {
    ended = Date.now();
  });
  try {
    // The clips are made once, before the first case.
    await new Promise((done) => child.stdout.once("data", done));
    const sent = Date.now();
    const classic = `/hls/${streamKey}.m3u8`;
    const there = until(
      `${id} has a classic playlist`,
      async () => ended || (await fetch(server.url + classic)).ok,
    );
    there.then(() => page.evaluate(playClassic, classic));
    const followers = [new Follower(), new Follower()];
    while (!ended) {
      const seen = await page.evaluate(look);
      if (!ended) for (const [n, state] of seen.entries()) followers[n].see(state, Date.now());
      await new Promise((done) => setTimeout(done, 100));
    }
    const judged = PREVIEW_ALONE.includes(id) ? ["preview"] : ["preview", "classic"];
    return judged.flatMap((name, n) => followers[n].verdict(name, sent, ended));
  } finally {
    child.kill("SIGKILL");
    await context.close();
  }
}

test("odd streams play in both previews", { timeout: 300_000 }, async (t) => {
  const { server, chromium } = await stage(t);
  const wrong = [];
  const waiting = [...chosen];
  const worker = async () => {
    for (let id = waiting.shift(); id; id = waiting.shift()) {
      const found = await play(server, chromium, id);
      console.log(`${found.length ? "WRONG" : "right"}: ${id} ${CASES[id]}`);
      wrong.push(...found.map((what) => `${id} (${CASES[id]}) ${what}`));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  assert.deepEqual(wrong, []);
});
