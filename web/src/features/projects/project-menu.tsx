import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";

import { api, Problem, type Project, take } from "../../api/client";
import { Button } from "../../components/ui/button";
import { Dialog } from "../../components/ui/dialog";
import { Check, Failure, Field } from "../../components/ui/field";
import { isOn } from "../../components/ui/state";
import { endsStream, projectQuery } from "../live/follow";
import { projectsQuery } from "./projects-page";

/** The actions of a project. */
export function ProjectMenu({ project }: { project: Project }) {
  const [open, setOpen] = useState<"settings" | "delete">();
  const close = () => setOpen(undefined);
  return (
    <div className="flex gap-1">
      <Button look="quiet" onClick={() => setOpen("settings")}>
        Settings
      </Button>
      <Button look="quiet" onClick={() => setOpen("delete")}>
        Delete
      </Button>
      {open === "settings" && <Settings project={project} onClose={close} />}
      {open === "delete" && <Delete project={project} onClose={close} />}
    </div>
  );
}

function Settings({ project, onClose }: { project: Project; onClose: () => void }) {
  const [name, setName] = useState(project.name);
  const [holdAfterStop, setHold] = useState(project.holdAfterStop);
  const [pullUrl, setPullUrl] = useState(project.pullUrl ?? "");
  const cache = useQueryClient();
  const save = useMutation({
    mutationFn: () => {
      const url = pullUrl.trim() || null;
      // An unchanged URL is not sent, so it does not appear in the audit log.
      const body = { name, holdAfterStop, ...(url !== project.pullUrl && { pullUrl: url }) };
      return take(api.PATCH("/api/projects/{id}", { params: { path: { id: project.id } }, body }));
    },
    onSuccess: () => cache.invalidateQueries(projectQuery(project.id)).then(onClose),
  });
  const problem = save.error instanceof Problem ? save.error : undefined;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    save.mutate();
  };
  return (
    <Dialog title="Settings" onClose={onClose}>
      <form onSubmit={submit} noValidate className="space-y-4">
        <Field
          label="Name"
          value={name}
          onChange={(e) => setName(e.target.value)}
          error={problem?.fields.name}
          maxLength={100}
        />
        <Check
          label="Keep destinations on when my encoder stops"
          hint="“Stop streaming” then counts as an interruption: platforms stay connected for a while, so that you can change scenes, machines or networks while live. End the stream on this page."
          checked={holdAfterStop}
          onChange={setHold}
        />
        <Field
          label="Pull from another server"
          hint="Leave it empty if your encoder sends to this server. Otherwise GoStream plays the stream from there, with this project’s stream key, whenever it is live."
          placeholder="rtmp://server/app"
          value={pullUrl}
          onChange={(e) => setPullUrl(e.target.value)}
          error={problem?.fields.pullUrl}
          inputMode="url"
          spellCheck={false}
        />
        {project.pull?.lastError && <Failure>{project.pull.lastError.message}</Failure>}
        {problem && !problem.fields.name && !problem.fields.pullUrl && <Failure>{problem.message}</Failure>}
        <Button type="submit" look="primary" busy={save.isPending && "Saving…"}>
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
  const on = (project.destinations ?? []).filter(({ relay }) => isOn(relay)).length;
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
          The stream key, the destinations with their keys and the history will be deleted permanently.
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
