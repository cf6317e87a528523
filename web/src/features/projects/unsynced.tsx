import type { Project } from "../../api/client";
import { useNow } from "../live/follow";
import { ago } from "../live/report";

/** Shown while saved changes have not reached the running stream. */
export function Unsynced({ error }: { error: NonNullable<Project["syncError"]> }) {
  const now = useNow();
  return (
    <p role="status" className="bg-warn-soft text-warn rounded-lg px-4 py-3" data-testid="unsynced">
      <span aria-hidden="true">▲ </span>
      Changes to this project have not taken effect for {ago(now - Date.parse(error.since))}. {error.message}
    </p>
  );
}
