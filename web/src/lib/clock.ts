// The server's clock. Countdowns to times from the server use it instead of the visitor's clock, which may be minutes off.

/** Smaller differences are ignored: `Date` headers have whole seconds. */
const AGREES_MS = 2_000;
let ahead = 0;

/** Learns the offset from a response: its `Date` was the server's time between request and response. */
export function learn(date: string | null, asked: number, heard: number) {
  const stamp = Date.parse(date ?? "");
  if (Number.isNaN(stamp)) return;
  // The header is truncated to seconds, so the real time is half a second later on average.
  const difference = stamp + 500 - (asked + heard) / 2;
  ahead = Math.abs(difference) < AGREES_MS ? 0 : difference;
}

/** The current time of the server. */
export function serverNow(): number {
  return Date.now() + ahead;
}
