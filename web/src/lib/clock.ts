// The server's clock. What it says happens "at" a time is counted down against its own clock, not the visitor's, which may
// be minutes off.

/** Between this much either way the clocks agree: `Date` headers have whole seconds. */
const AGREES_MS = 2_000;
let ahead = 0;

/** Learns from an answer: its `Date` was the server's time somewhere between asking and hearing. */
export function learn(date: string | null, asked: number, heard: number) {
  const stamp = Date.parse(date ?? "");
  if (Number.isNaN(stamp)) return;
  // The header cuts the second off, so the truth is half a second later on average.
  const difference = stamp + 500 - (asked + heard) / 2;
  ahead = Math.abs(difference) < AGREES_MS ? 0 : difference;
}

/** Now, as the server counts. */
export function serverNow(): number {
  return Date.now() + ahead;
}
