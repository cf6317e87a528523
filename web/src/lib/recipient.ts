// The recipient of a stream key: the server requires the key again when the recipient changes (api/recipient.rs).

/** Scheme, host and port of an RTMP URL; `undefined` if it is not one. */
export function recipient(url: string): string | undefined {
  const parts = /^(rtmps?):\/\/(?:[^/?]*@)?(\[[^\]]*\]|[^/?:]+)(?::(\d+))?(?:[/?]|$)/i.exec(url.trim());
  if (!parts) return undefined;
  const scheme = parts[1]?.toLowerCase();
  return `${scheme}://${parts[2]?.toLowerCase()}:${Number(parts[3] ?? (scheme === "rtmps" ? 443 : 1935))}`;
}

/** Whether a server does not have the key yet. */
export function isAnother(url: string, known: (string | null | undefined)[]): boolean {
  const to = recipient(url);
  return to !== undefined && !known.some((old) => old && recipient(old) === to);
}
