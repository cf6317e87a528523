import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { api, type Project, take } from "../../api/client";
import { Button } from "../../components/ui/button";
import { Failure } from "../../components/ui/field";
import { ProjectState } from "../../components/ui/state";
import { moment } from "../../lib/format";
import { projectsQuery } from "../projects/projects-page";

/** Live streams with this account's stream keys, and buttons to end them permanently. */
export function OnAir() {
  const cache = useQueryClient();
  const { data: projects, error } = useQuery(projectsQuery);
  const renew = useMutation({
    mutationFn: (id: string) => take(api.POST("/api/projects/{id}/stream-key", { params: { path: { id } } })),
    onSuccess: () => cache.invalidateQueries(projectsQuery),
  });
  const live = (projects ?? []).filter((project) => project.stream);
  const failed = error ?? renew.error;
  return (
    <section className="panel p-5 space-y-3">
      <h2 className="text-base font-semibold">Live streams</h2>
      {failed && <Failure>{failed.message}</Failure>}
      {!projects && !error && <div className="skeleton h-12" />}
      {projects && live.length === 0 && <p className="text-muted">Nothing is live.</p>}
      <ul className="divide-y divide-line" data-testid="on-air">
        {live.map((project) => (
          <li key={project.id} className="py-2 flex flex-wrap items-center justify-between gap-x-4 gap-y-1">
            <Name project={project} />
            <Button
              look="danger"
              aria-label={`End and replace key: ${project.name}`}
              onClick={() => renew.mutate(project.id)}
              busy={renew.isPending && renew.variables === project.id && "Ending…"}
            >
              End and replace key
            </Button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Name({ project }: { project: Project }) {
  return (
    <span className="min-w-0">
      <Link to="/projects/$id" params={{ id: project.id }} className="block truncate underline">
        {project.name}
      </Link>
      <span className="text-muted flex flex-wrap gap-x-2">
        <ProjectState status={project.status} />
        {project.stream && <span>since {moment(project.stream.startedAt)}</span>}
      </span>
    </span>
  );
}
