import { queryOptions, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";

import { api, Problem, type Project, take } from "../../api/client";
import { Button } from "../../components/ui/button";
import { Failure, Field } from "../../components/ui/field";
import { ProjectState } from "../../components/ui/state";
import { moment } from "../../lib/format";
import { SmallPreview } from "../live/preview";

/** Poll interval of the list, which shows live states. */
const REFRESH_MS = 4_000;

export const projectsQuery = queryOptions({
  queryKey: ["projects"],
  queryFn: () => take(api.GET("/api/projects")),
  refetchInterval: REFRESH_MS,
});

/** All projects of the account. */
export function ProjectsPage() {
  const { data: projects, error } = useQuery(projectsQuery);
  return (
    <main className="mx-auto max-w-3xl p-4 space-y-4">
      <h1 className="text-xl font-semibold">Projects</h1>
      {error && <Failure>{error.message}</Failure>}
      {!projects && !error && (
        <div className="space-y-3" aria-hidden="true">
          <div className="skeleton h-16" />
          <div className="skeleton h-16" />
        </div>
      )}
      {projects && projects.length > 0 && (
        <ul className="space-y-3">
          {projects.map((project) => (
            <Row key={project.id} project={project} />
          ))}
        </ul>
      )}
      {projects && <NewProject first={projects.length === 0} />}
    </main>
  );
}

function Row({ project }: { project: Project }) {
  return (
    <li>
      <Link
        to="/projects/$id"
        params={{ id: project.id }}
        className="panel p-4 flex flex-wrap items-center gap-x-4 gap-y-2 hover:bg-sunken transition-colors duration-100"
      >
        {project.stream && <SmallPreview project={project} />}
        <span className="min-w-0 flex-1">
          <span className="block font-semibold truncate">{project.name}</span>
          <span className="text-muted">created {moment(project.createdAt)}</span>
        </span>
        <ProjectState status={project.status} />
      </Link>
    </li>
  );
}

function NewProject({ first }: { first: boolean }) {
  const [name, setName] = useState("");
  const cache = useQueryClient();
  const navigate = useNavigate();
  const create = useMutation({
    mutationFn: () => take(api.POST("/api/projects", { body: { name } })),
    onSuccess: (project) => {
      void cache.invalidateQueries(projectsQuery);
      void navigate({ to: "/projects/$id", params: { id: project.id } });
    },
  });
  const problem = create.error instanceof Problem ? create.error : undefined;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    create.mutate();
  };
  return (
    <form onSubmit={submit} noValidate className="panel p-5 space-y-4">
      <Field
        label={first ? "Name your first project" : "New project"}
        placeholder="Sunday service"
        value={name}
        onChange={(event) => setName(event.target.value)}
        error={problem?.fields.name}
        maxLength={100}
      />
      {problem && !problem.fields.name && <Failure>{problem.message}</Failure>}
      <Button type="submit" look="primary" busy={create.isPending && "Creating…"}>
        Create project
      </Button>
    </form>
  );
}
