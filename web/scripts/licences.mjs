// Checks the licences of the page's dependencies, from the bill of materials of `npm sbom` on standard input.
import { readFileSync } from "node:fs";

// The licences of deny.toml that occur here, and a public-domain one.
const allowed = new Set(["Apache-2.0", "BSD-3-Clause", "ISC", "MIT", "Unlicense"]);

/** Whether one of the choices of an expression without parentheses is allowed as a whole. */
const fits = (expression) =>
  expression
    .split(" OR ")
    .some((choice) => choice.split(" AND ").every((licence) => allowed.has(licence.trim())));

const bill = JSON.parse(readFileSync(0, "utf8"));
const licences = ({ licenses = [] }) =>
  licenses.map(({ license, expression }) => expression ?? license?.id ?? license?.name ?? "none");
const refused = bill.components.filter((component) => {
  const found = licences(component);
  return found.length === 0 || !found.every(fits);
});
for (const component of refused) {
  console.error(`${component.name} ${component.version}: ${licences(component).join(", ") || "no licence"}`);
}
if (bill.components.length === 0) console.error("the bill of materials is empty");
process.exit(refused.length === 0 && bill.components.length > 0 ? 0 : 1);
