import { useEffect, useState } from "react";

import { Button } from "./button";

type Props = { label: string; value: string; masked?: boolean };

/** A value to copy: optionally masked until revealed, with a confirmation of copying. */
export function Secret({ label, value, masked = false }: Props) {
  const [shown, setShown] = useState(!masked);
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 2_000);
    return () => clearTimeout(timer);
  }, [copied]);
  return (
    <div>
      <p className="font-medium mb-1">{label}</p>
      <div className="flex flex-wrap gap-2">
        <code className="field flex-1 min-w-52 break-all font-mono text-sm" data-testid={`value-${label}`}>
          {shown ? value : "•".repeat(24)}
        </code>
        {masked && (
          <Button aria-pressed={shown} onClick={() => setShown(!shown)}>
            {shown ? "Hide" : "Reveal"}
          </Button>
        )}
        <Button
          onClick={async () => {
            await navigator.clipboard.writeText(value);
            setCopied(true);
          }}
        >
          {copied ? "Copied ✓" : "Copy"}
        </Button>
        <span className="sr-only" aria-live="polite">
          {copied ? `${label} copied` : ""}
        </span>
      </div>
    </div>
  );
}
