/** A platform's initials, instead of its logo, which is a trademark. */
export function Mark({ name }: { name: string }) {
  const words = name.match(/[\p{L}\p{N}]+/gu) ?? [];
  const initials =
    words.length > 1 ? words.slice(0, 2).map((word) => word[0]) : [...(words[0] ?? "?").slice(0, 2)];
  return (
    <span
      aria-hidden="true"
      className="grid place-items-center size-9 shrink-0 rounded-lg bg-sunken text-muted font-semibold uppercase"
    >
      {initials.join("")}
    </span>
  );
}
