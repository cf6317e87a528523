import type { ButtonHTMLAttributes } from "react";

type Look = "primary" | "plain" | "quiet" | "danger";

const looks: Record<Look, string> = {
  primary: "bg-accent text-accent-text border-accent hover:opacity-90",
  plain: "bg-panel border-line hover:bg-sunken",
  quiet: "border-transparent hover:bg-sunken text-muted hover:text-text",
  danger: "bg-panel text-bad border-bad hover:bg-bad-soft",
};

type Props = ButtonHTMLAttributes<HTMLButtonElement> & {
  look?: Look;
  /** The label while the action runs; the button is disabled meanwhile. */
  busy?: string | false | undefined;
};

/** A button with a busy state. */
export function Button({ look = "plain", busy, className = "", children, disabled, ...rest }: Props) {
  return (
    <button
      type="button"
      {...rest}
      disabled={disabled || Boolean(busy)}
      aria-busy={Boolean(busy)}
      className={`inline-flex items-center justify-center gap-2 min-h-9 px-3 rounded-lg border font-medium whitespace-nowrap disabled:opacity-60 transition-colors duration-100 ${looks[look]} ${className}`}
    >
      {busy || children}
    </button>
  );
}
