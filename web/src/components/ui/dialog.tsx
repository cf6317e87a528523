import { type ReactNode, useEffect, useId, useRef } from "react";

import { Button } from "./button";

type Props = { title: string; onClose: () => void; children: ReactNode };

/** A modal dialog. It uses the browser's element, so focus, Escape and screen readers work as usual. */
export function Dialog({ title, onClose, children }: Props) {
  const element = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    const dialog = element.current;
    if (dialog && !dialog.open) dialog.showModal();
  }, []);
  return (
    <dialog
      ref={element}
      aria-labelledby={heading}
      onClose={onClose}
      className="panel text-text m-auto p-0 w-[min(34rem,calc(100vw-1.5rem))] max-h-[calc(100dvh-1.5rem)]"
    >
      <header className="flex items-center justify-between gap-4 pl-5 pr-3 py-3 border-b border-line sticky top-0 bg-panel z-10">
        <h2 id={heading} className="text-base font-semibold">
          {title}
        </h2>
        <Button look="quiet" onClick={() => element.current?.close()} aria-label="Close">
          ✕
        </Button>
      </header>
      <div className="p-5">{children}</div>
    </dialog>
  );
}
