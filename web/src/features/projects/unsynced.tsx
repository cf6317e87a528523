import type { Project } from "../../api/client";
import { useNow } from "../live/follow";
import { ago } from "../live/report";

/** Shown while the stream does not follow what is saved. */
export function Unsynced({ error }: { error: NonNullable<Project["syncError"]> }) {
  const now = useNow();
  return (
    <p role="status" className="bg-warn-soft text-warn rounded-lg px-4 py-3" data-testid="unsynced">
      <span aria-hidden="true">▲ </span>
      Changes to this project have not been carried out for {ago(now - Date.parse(error.since))}.{" "}
      {error.message}
    </p>
  );
}
