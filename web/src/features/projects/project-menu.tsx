import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";

import { api, Problem, type Project, take } from "../../api/client";
import { Button } from "../../components/ui/button";
import { Dialog } from "../../components/ui/dialog";
import { Failure, Field } from "../../components/ui/field";
import { endsStream, projectQuery } from "../live/follow";
import { projectsQuery } from "./projects-page";

/** Rename and delete. */
export function ProjectMenu({ project }: { project: Project }) {
  const [open, setOpen] = useState<"rename" | "delete">();
  const close = () => setOpen(undefined);
  return (
    <div className="flex gap-1">
      <Button look="quiet" onClick={() => setOpen("rename")}>
        Rename
      </Button>
      <Button look="quiet" onClick={() => setOpen("delete")}>
        Delete
      </Button>
      {open === "rename" && <Rename project={project} onClose={close} />}
      {open === "delete" && <Delete project={project} onClose={close} />}
    </div>
  );
}

function Rename({ project, onClose }: { project: Project; onClose: () => void }) {
  const [name, setName] = useState(project.name);
  const cache = useQueryClient();
  const rename = useMutation({
    mutationFn: () =>
      take(api.PATCH("/api/projects/{id}", { params: { path: { id: project.id } }, body: { name } })),
    onSuccess: (fresh) => {
      cache.setQueryData(projectQuery(project.id).queryKey, fresh);
      onClose();
    },
  });
  const problem = rename.error instanceof Problem ? rename.error : undefined;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    rename.mutate();
  };
  return (
    <Dialog title="Rename" onClose={onClose}>
      <form onSubmit={submit} noValidate className="space-y-4">
        <Field
          label="Name"
          value={name}
          onChange={(e) => setName(e.target.value)}
          error={problem?.fields.name}
          maxLength={100}
        />
        {problem && !problem.fields.name && <Failure>{problem.message}</Failure>}
        <Button type="submit" look="primary" busy={rename.isPending && "Saving…"}>
          Save
        </Button>
      </form>
    </Dialog>
  );
}

function Delete({ project, onClose }: { project: Project; onClose: () => void }) {
  const [typed, setTyped] = useState("");
  const cache = useQueryClient();
  const navigate = useNavigate();
  const live = Boolean(project.stream);
  const on = (project.destinations ?? []).filter(({ relay }) => relay.state === "live").length;
  const remove = useMutation({
    mutationKey: endsStream(project.id),
    mutationFn: () => take(api.DELETE("/api/projects/{id}", { params: { path: { id: project.id } } })),
    onSuccess: async () => {
      await navigate({ to: "/" });
      cache.removeQueries(projectQuery(project.id));
      await cache.invalidateQueries(projectsQuery);
    },
  });
  return (
    <Dialog title={`Delete ${project.name}?`} onClose={onClose}>
      <div className="space-y-4">
        <p>
          {live
            ? `This ends your live stream${on > 0 ? ` on ${on === 1 ? "one platform" : `${on} platforms`}` : ""}. `
            : ""}
          The stream key, the destinations with their keys and the history are gone for good.
        </p>
        {live && (
          <Field
            label={`Type “${project.name}” to delete it while live`}
            value={typed}
            onChange={(e) => setTyped(e.target.value)}
          />
        )}
        {remove.error && <Failure>{remove.error.message}</Failure>}
        <Button
          look="danger"
          disabled={live && typed !== project.name}
          onClick={() => remove.mutate()}
          busy={remove.isPending && "Deleting…"}
        >
          Delete project
        </Button>
      </div>
    </Dialog>
  );
}
