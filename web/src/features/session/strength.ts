// A hint while typing. The server decides, with its list of common passwords.

/** A score from 0 to 4, with advice. */
export function strength(password: string): { score: number; hint: string } {
  if (password.length < 8)
    return { score: 0, hint: "Use at least 8 characters; a few random words are best." };
  const kinds = [/[a-z]/, /[A-Z]/, /\d/, /[^A-Za-z0-9]/].filter((kind) => kind.test(password)).length;
  const varied = new Set(password).size;
  let score = 1;
  if (password.length >= 12) score += 1;
  if (password.length >= 16) score += 1;
  if (kinds >= 3) score += 1;
  if (varied < password.length / 3) score = 0;
  score = Math.min(4, score);
  const hints = [
    "Easy to guess.",
    "Longer is stronger: add a word or two.",
    "Good.",
    "Strong.",
    "Very strong.",
  ];
  return { score, hint: hints[score] ?? "" };
}
