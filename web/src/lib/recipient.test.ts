import { expect, test } from "vitest";

import { isAnother } from "./recipient";

const known = ["rtmps://****@Live.example/app", null, "rtmp://[::1]:1936/app"];

test.each([
  "rtmps://live.example:443/other?x",
  "RTMPS://me:p@ss@LIVE.example",
  "rtmp://[::1]:1936",
  "",
  "no url",
])("%s is none that the key has to be entered again for", (url) => expect(isAnother(url, known)).toBe(false));

test.each([
  "rtmp://live.example/app",
  "rtmp://live.example:443/app",
  "rtmps://live.example:444/app",
  "rtmps://live.example@other.example/app",
  "rtmps://other.example/live.example",
  "rtmp://[::1]/app",
])("%s is another server", (url) => expect(isAnother(url, known)).toBe(true));
