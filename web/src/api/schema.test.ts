// @vitest-environment node
import { readFileSync } from "node:fs";
import openapiTS, { astToString } from "openapi-typescript";
import { expect, test } from "vitest";

test("the client's types are those of the committed OpenAPI document", async () => {
  const document = new URL("../../../docs/openapi.json", import.meta.url);
  const fresh = astToString(await openapiTS(document));
  const committed = readFileSync(new URL("./schema.gen.d.ts", import.meta.url), "utf8");
  // The command puts a notice on top.
  expect(committed.endsWith(fresh), "run `npm run generate`").toBe(true);
});
