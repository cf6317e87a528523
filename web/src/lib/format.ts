// Numbers, times and sizes in the reader's locale.

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const one = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const dateTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** A bitrate: `840 kbit/s`, `6.1 Mbit/s`. */
export function bitrate(kbps: number): string {
  return kbps < 1000 ? `${whole.format(kbps)} kbit/s` : `${one.format(kbps / 1000)} Mbit/s`;
}

/** Seconds with one digit: `2.0 s`. */
export function seconds(value: number): string {
  return `${one.format(value)} s`;
}

/** A frame rate: `30 fps`, `29.97 fps`. */
export function frameRate(fps: number): string {
  return `${new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 }).format(fps)} fps`;
}

/** A running time: `00:42:17`. */
export function clock(ms: number): string {
  const total = Math.max(0, Math.floor(ms / 1000));
  const part = (value: number) => String(value).padStart(2, "0");
  return `${part(Math.floor(total / 3600))}:${part(Math.floor(total / 60) % 60)}:${part(total % 60)}`;
}

/** A duration: `42 min`, `1 h 5 min`, `20 s`. */
export function duration(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return `${Math.max(0, Math.round(ms / 1000))} s`;
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Date and time of day. */
export function moment(iso: string): string {
  return dateTime.format(new Date(iso));
}

const time = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

/** The time of day, to the second. */
export function timeOfDay(iso: string): string {
  return time.format(new Date(iso));
}

const codecs: Record<string, string> = {
  h264: "H.264",
  hevc: "HEVC",
  av1: "AV1",
  vp9: "VP9",
  aac: "AAC",
  mp3: "MP3",
  opus: "Opus",
};

/** The usual spelling of a codec. */
export function codec(name: string): string {
  return codecs[name] ?? name.toUpperCase();
}
