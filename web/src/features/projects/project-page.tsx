import { queryOptions, useIsMutating, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { api, Problem, type Project, take } from "../../api/client";
import { NotFound } from "../../app/frame";
import { Failure } from "../../components/ui/field";
import { ProjectState } from "../../components/ui/state";
import { clock } from "../../lib/format";
import { Destinations } from "../destinations/list";
import { Charts } from "../live/chart";
import { endsStream, projectQuery, useFollow, useNow } from "../live/follow";
import { Guide } from "../live/guide";
import { History, JustOver } from "../live/history";
import { Incoming, Reconnecting, Rest, Uplink } from "../live/incoming";
import { Preview } from "../live/preview";
import { ago } from "../live/report";
import { ASK_MS } from "../live/updates";
import { ProjectMenu } from "./project-menu";
import { Unsynced } from "./unsynced";

const platformsQuery = queryOptions({
  queryKey: ["platforms"],
  queryFn: () => take(api.GET("/api/platforms")),
  staleTime: Number.POSITIVE_INFINITY,
});

/** A project: the incoming stream, the preview and the destinations. */
export function ProjectPage({ id }: { id: string }) {
  const { data: project, error } = useQuery(projectQuery(id));
  const { data: platforms = [] } = useQuery(platformsQuery);
  const { away, heldBack, refused, gone } = useFollow(id);
  // A stream that is about to end is no longer played.
  const ending = useIsMutating({ mutationKey: endsStream(id) }) > 0;
  if (gone || (error instanceof Problem && error.status === 404)) return <NotFound />;
  if (error && !project) {
    return (
      <main className="mx-auto max-w-xl p-4">
        <Failure>{error.message}</Failure>
      </main>
    );
  }
  if (!project) return <Skeleton />;
  const heldUntil = project.stream?.heldUntil;
  const restUntil = project.stream?.restUntil;
  return (
    <main className="mx-auto max-w-[110rem] p-4 space-y-4" data-testid="project">
      <LiveBar project={project} />
      {away && (
        <p role="alert" className="bg-bad-soft text-bad rounded-lg px-4 py-3" data-testid="away">
          <span aria-hidden="true">▲ </span>
          The server is unreachable, or waits for its database. This page shows the last known state; your
          stream may well continue. The page recovers by itself.
        </p>
      )}
      {heldBack && (
        <p role="status" className="bg-warn-soft text-warn rounded-lg px-4 py-3" data-testid="held-back">
          <span aria-hidden="true">▲ </span>A proxy between you and the server holds back live updates. The
          page refreshes every {ASK_MS / 1_000} seconds instead.
        </p>
      )}
      {refused !== undefined && (
        <p role="status" className="bg-warn-soft text-warn rounded-lg px-4 py-3" data-testid="refused">
          <span aria-hidden="true">▲ </span>The server sends this page no live updates right now. {refused}{" "}
          The page refreshes every {ASK_MS / 1_000} seconds instead.
        </p>
      )}
      {!away && project.syncError && <Unsynced error={project.syncError} />}
      {project.status === "reconnecting" && (
        <Reconnecting project={project} until={heldUntil ? Date.parse(heldUntil) : Number.NaN} />
      )}
      {restUntil && <Rest project={project} until={Date.parse(restUntil)} />}
      <div className={`grid lg:grid-cols-2 gap-4 items-start ${away ? "opacity-50" : ""}`}>
        <div className="order-1 lg:order-2 space-y-4 min-w-0">
          <Uplink project={project} />
          <Destinations project={project} platforms={platforms} />
        </div>
        <div className="order-2 lg:order-1 space-y-4 min-w-0">
          {!project.stream && <JustOver id={id} />}
          {!project.stream && <Waiting project={project} />}
          {project.stream && !ending && !restUntil && <Preview project={project} />}
          <Incoming project={project} platforms={platforms} />
          <Charts id={id} destinations={project.destinations ?? []} />
          {project.stream && (
            <details className="panel p-4">
              <summary className="font-semibold">Set up your encoder</summary>
              <div className="pt-4">
                <Guide project={project} />
              </div>
            </details>
          )}
          <details className="panel p-4">
            <summary className="font-semibold">Past streams</summary>
            <div className="pt-2">
              <History id={id} changed={project.stream?.id} />
            </div>
          </details>
        </div>
      </div>
    </main>
  );
}

function LiveBar({ project }: { project: Project }) {
  return (
    <header className="sticky top-0 z-10 -mx-4 -mt-4 px-4 py-2 bg-page border-b border-line flex flex-wrap items-center gap-x-4 gap-y-1">
      <nav aria-label="Path" className="flex items-center gap-2 min-w-0 flex-1 basis-full sm:basis-0">
        <Link to="/" className="text-muted hover:text-text">
          Projects
        </Link>
        <span aria-hidden="true" className="text-muted">
          ▸
        </span>
        <h1 className="font-semibold text-base truncate">{project.name}</h1>
      </nav>
      <p className="flex items-center gap-2" aria-live="polite">
        <ProjectState status={project.status} />
        {project.stream && <Running since={project.stream.startedAt} />}
      </p>
      <ProjectMenu project={project} />
    </header>
  );
}

function Running({ since }: { since: string }) {
  const now = useNow();
  return <span aria-hidden="true">{clock(now - Date.parse(since))}</span>;
}

function Waiting({ project }: { project: Project }) {
  return (
    <section className="panel p-5 space-y-4">
      <h2 className="text-base font-semibold" data-testid="waiting">
        Waiting for your encoder
      </h2>
      {project.unknownKey && <UnknownKey tried={project.unknownKey} />}
      {project.pullUrl && <Pulled pull={project.pull} />}
      <Guide project={project} />
    </section>
  );
}

function Pulled({ pull }: { pull: Project["pull"] }) {
  return (
    <>
      <p>
        GoStream also plays this project’s stream from the server in its settings, as soon as it is live
        there.
      </p>
      {pull?.lastError && <Failure>{pull.lastError.message}</Failure>}
    </>
  );
}

function UnknownKey({ tried }: { tried: NonNullable<Project["unknownKey"]> }) {
  const now = useNow();
  return (
    <p className="bg-warn-soft text-warn rounded-lg px-3 py-2" role="status" data-testid="unknown-key">
      <span aria-hidden="true">▲ </span>
      An encoder used an unknown key {ago(now - Date.parse(tried.at))} ago from {tried.address}. If it is
      yours, enter the key below again.
    </p>
  );
}

function Skeleton() {
  return (
    <main
      className="mx-auto max-w-[110rem] p-4 grid lg:grid-cols-2 gap-4"
      aria-busy="true"
      aria-label="Loading"
    >
      <div className="space-y-4">
        <div className="skeleton aspect-video" />
        <div className="skeleton h-16" />
      </div>
      <div className="space-y-4">
        <div className="skeleton h-24" />
        <div className="skeleton h-24" />
      </div>
    </main>
  );
}
