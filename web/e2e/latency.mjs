// Glass-to-glass latency: the age of the picture that a viewer sees. The encoder's pictures contain their creation time as black
// and white bars, which are read from the video on the page. `npm run latency` prints the result without judging it.
import { spawn } from "node:child_process";

import { enter, browser as launch, PASSWORD, Server, until } from "./stage.mjs";

const [WIDTH, HEIGHT, FPS] = [640, 360, 30];
/** 20 bits of milliseconds: they come round every 17 minutes. */
const BITS = 20;
const MASK = 2 ** BITS - 1;
const BAR = WIDTH / BITS;
const SECONDS = 20;

/** Grey noise below, so that the encoder has something to do, and the time on top. */
function draw(now) {
  const picture = Buffer.alloc(WIDTH * HEIGHT, 128);
  for (let at = WIDTH * 120; at < picture.length; at += 7) picture[at] = (at * 31 + now) & 0xff;
  for (let x = 0; x < WIDTH; x++) {
    const bit = ((now & MASK) >> Math.floor(x / BAR)) & 1;
    for (let y = 0; y < 100; y++) picture[y * WIDTH + x] = bit ? 235 : 16;
  }
  return picture;
}

function encode(url) {
  const options = `-hide_banner -loglevel error -f rawvideo -pix_fmt gray -s ${WIDTH}x${HEIGHT} -r ${FPS} -i pipe:0 -f lavfi
    -i anullsrc=r=48000:cl=stereo -shortest -c:v libx264 -preset ultrafast -tune zerolatency -pix_fmt yuv420p -b:v 1500k
    -g ${2 * FPS} -c:a aac -b:a 96k -flush_packets 1 -f flv`;
  const child = spawn("ffmpeg", [...options.split(/\s+/), url], { stdio: ["pipe", "ignore", "inherit"] });
  const began = Date.now();
  let drawn = 0;
  const timer = setInterval(() => {
    while (drawn < ((Date.now() - began) * FPS) / 1_000) {
      child.stdin.write(draw(Date.now()));
      drawn++;
    }
  }, 5);
  child.stdin.on("error", () => clearInterval(timer));
  return child;
}

/** The age of the picture on the page in milliseconds, or nothing while there is none. */
const age = ({ bits, mask, width }) => {
  const video = document.querySelector("video[data-testid=preview]");
  if (!video || video.readyState < 2 || video.videoWidth === 0) return null;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, 1];
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, video.videoHeight * 0.1, video.videoWidth, 1, 0, 0, width, 1);
  const now = Date.now();
  const pixels = context.getImageData(0, 0, width, 1).data;
  let time = 0;
  for (let bit = 0; bit < bits; bit++) {
    if (pixels[4 * Math.floor((bit + 0.5) * (width / bits))] > 128) time |= 1 << bit;
  }
  return ((now & mask) - time) & mask;
};

const [server, chromium] = [await Server.start(), await launch()];
try {
  const { streamKey, id } = await server.project("me@example.org", "Latency");
  const child = encode(`rtmp://127.0.0.1:${server.rtmp}/live/${streamKey}`);
  await new Promise((done) => setTimeout(done, 8_000));

  const context = await chromium.newContext();
  const page = await context.newPage();
  await page.goto(`${server.url}/login`);
  await enter(page, "me@example.org", PASSWORD, "Log in");
  await page.getByText("Latency").waitFor();

  const opened = Date.now();
  await page.goto(`${server.url}/projects/${id}`);
  const look = () => page.evaluate(age, { bits: BITS, mask: MASK, width: WIDTH });
  await until("the first picture", async () => (await look()) !== null);
  console.log(`first picture ${Date.now() - opened} ms after the page was asked for`);

  const ages = [];
  while (ages.length < SECONDS * 10) {
    await new Promise((done) => setTimeout(done, 100));
    const seen = await look();
    if (seen !== null) ages.push(seen);
  }
  const part = (list, share) => list.sort((a, b) => a - b)[Math.floor(list.length * share)];
  const settled = ages.slice(ages.length / 2);
  console.log(
    `glass to glass, in ms: p50 ${part(settled, 0.5)}, p95 ${part(settled, 0.95)} (after ${SECONDS / 2} s)`,
  );
  child.kill("SIGKILL");
} finally {
  await chromium.close();
  await server.end();
  process.exit();
}
