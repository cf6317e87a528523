// Who gets what is sent to a server: the server asks for a stream key again when that changes (api/recipient.rs).

/** Scheme, host and port of an RTMP URL, or nothing if it is none. */
export function recipient(url: string): string | undefined {
  const parts = /^(rtmps?):\/\/(?:[^/?]*@)?(\[[^\]]*\]|[^/?:]+)(?::(\d+))?(?:[/?]|$)/i.exec(url.trim());
  if (!parts) return undefined;
  const scheme = parts[1]?.toLowerCase();
  return `${scheme}://${parts[2]?.toLowerCase()}:${Number(parts[3] ?? (scheme === "rtmps" ? 443 : 1935))}`;
}

/** Whether a server is none of those that have the key. */
export function isAnother(url: string, known: (string | null | undefined)[]): boolean {
  const to = recipient(url);
  return to !== undefined && !known.some((old) => old && recipient(old) === to);
}
