// Writes a Brotli and a gzip version of every built file that becomes smaller; the server sends the one that a browser accepts.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const SHRINKS = /\.(js|css|html|svg|json)$/;
const best = { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } };

for (const entry of readdirSync("dist", { recursive: true, withFileTypes: true })) {
  const path = join(entry.parentPath, entry.name);
  if (!entry.isFile() || !SHRINKS.test(path)) continue;
  const bytes = readFileSync(path);
  for (const [ending, packed] of [
    ["br", brotliCompressSync(bytes, best)],
    ["gz", gzipSync(bytes, { level: 9 })],
  ]) {
    if (packed.length < bytes.length) writeFileSync(`${path}.${ending}`, packed);
  }
}
