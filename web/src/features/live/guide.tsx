import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { api, type Project, take } from "../../api/client";
import { Button } from "../../components/ui/button";
import { Dialog } from "../../components/ui/dialog";
import { Failure } from "../../components/ui/field";
import { Secret } from "../../components/ui/secret";
import { endsStream, projectQuery } from "./follow";

/** Server and stream key, with the steps for OBS. */
export function Guide({ project }: { project: Project }) {
  const [asking, setAsking] = useState<"key" | "address">();
  const close = () => setAsking(undefined);
  return (
    <div className="space-y-4">
      <Secret label="Server" value={project.ingestUrl} />
      <Secret label="Stream key" value={project.streamKey} masked />
      <p className="text-muted">
        Anyone with the key can stream as you.{" "}
        <button type="button" className="text-accent underline" onClick={() => setAsking("key")}>
          Create a new key
        </button>
      </p>
      <p className="text-muted">
        Anyone with the preview link can watch.{" "}
        <button type="button" className="text-accent underline" onClick={() => setAsking("address")}>
          Create a new link
        </button>
      </p>
      <ol className="list-decimal pl-5 space-y-1">
        <li>
          In OBS open <b>Settings ▸ Stream</b>, choose the service <b>Custom…</b> and paste server and stream
          key.
        </li>
        <li>
          In <b>Settings ▸ Output</b> set the keyframe interval to <b>2 s</b>; every platform requires it.
        </li>
        <li>
          Press <b>Start Streaming</b>. This page shows your stream automatically.
        </li>
      </ol>
      {asking === "key" && <NewKey project={project} onClose={close} />}
      {asking === "address" && <NewAddress project={project} onClose={close} />}
    </div>
  );
}

function NewKey({ project, onClose }: { project: Project; onClose: () => void }) {
  const cache = useQueryClient();
  const rotate = useMutation({
    mutationKey: endsStream(project.id),
    mutationFn: () =>
      take(api.POST("/api/projects/{id}/stream-key", { params: { path: { id: project.id } } })),
    onSuccess: () => cache.invalidateQueries(projectQuery(project.id)).then(onClose),
  });
  return (
    <Dialog title="Create a new stream key?" onClose={onClose}>
      <div className="space-y-4">
        <p>
          The old key stops working at once. {project.stream ? "This ends your live stream. " : ""}
          Then enter the new one in your encoder.
        </p>
        {rotate.error && <Failure>{rotate.error.message}</Failure>}
        <Button look="danger" onClick={() => rotate.mutate()} busy={rotate.isPending && "Creating…"}>
          Create a new key
        </Button>
      </div>
    </Dialog>
  );
}

function NewAddress({ project, onClose }: { project: Project; onClose: () => void }) {
  const cache = useQueryClient();
  const rotate = useMutation({
    mutationFn: () =>
      take(api.POST("/api/projects/{id}/playback-id", { params: { path: { id: project.id } } })),
    onSuccess: () => cache.invalidateQueries(projectQuery(project.id)).then(onClose),
  });
  return (
    <Dialog title="Create a new preview link?" onClose={onClose}>
      <div className="space-y-4">
        <p>
          Players with the old link stop at once, also where you embedded it. Your stream and its destinations
          continue.
        </p>
        {rotate.error && <Failure>{rotate.error.message}</Failure>}
        <Button look="danger" onClick={() => rotate.mutate()} busy={rotate.isPending && "Creating…"}>
          Create a new link
        </Button>
      </div>
    </Dialog>
  );
}
