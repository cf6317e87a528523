import { useMutation } from "@tanstack/react-query";
import { useState } from "react";

import { api, type Platform, type Project, take } from "../../api/client";
import { Button } from "../../components/ui/button";
import { Dialog } from "../../components/ui/dialog";
import { Failure } from "../../components/ui/field";
import { DestinationCard } from "./card";
import { Editor, PlatformButton } from "./editor";

/** Platforms with a button of their own in a project without destinations. */
const first = ["youtube", "twitch", "facebook", "kick", "tiktok"];

/** The destinations of a project. */
export function Destinations({ project, platforms }: { project: Project; platforms: Platform[] }) {
  const [adding, setAdding] = useState<{ picked?: string }>();
  const destinations = project.destinations ?? [];
  const all = useMutation({
    mutationFn: (verb: "start" | "stop") =>
      Promise.all(
        destinations
          .filter(({ enabled }) => enabled !== (verb === "start"))
          .map(({ id }) => {
            const params = { params: { path: { id } } };
            return verb === "start"
              ? take(api.POST("/api/destinations/{id}/relay/start", params))
              : take(api.POST("/api/destinations/{id}/relay/stop", params));
          }),
      ),
  });
  const some = destinations.some(({ enabled }) => enabled);
  const every = destinations.every(({ enabled }) => enabled);
  return (
    <section className="space-y-3" aria-label="Destinations">
      <header className="flex flex-wrap items-center gap-2 justify-between">
        <h2 className="text-base font-semibold">Destinations</h2>
        <div className="flex flex-wrap gap-2">
          {destinations.length > 1 && !every && (
            <Button
              onClick={() => all.mutate("start")}
              busy={all.isPending && all.variables === "start" && "Starting…"}
            >
              Start all
            </Button>
          )}
          {destinations.length > 1 && some && (
            <Button
              onClick={() => all.mutate("stop")}
              busy={all.isPending && all.variables === "stop" && "Stopping…"}
            >
              Stop all
            </Button>
          )}
          {destinations.length > 0 && <Button onClick={() => setAdding({})}>Add destination</Button>}
        </div>
      </header>
      {all.error && <Failure>{all.error.message}</Failure>}
      {destinations.length === 0 ? (
        <div className="panel p-5 space-y-3">
          <p>Where should your stream go? You can add as many as you like.</p>
          <div className="grid sm:grid-cols-2 gap-2">
            {first.map((id) => {
              const platform = platforms.find((candidate) => candidate.id === id);
              return (
                platform && (
                  <PlatformButton key={id} name={platform.name} onClick={() => setAdding({ picked: id })} />
                )
              );
            })}
            <PlatformButton name="All platforms" onClick={() => setAdding({})} />
          </div>
          <Button look="quiet" onClick={() => setAdding({ picked: "custom" })}>
            Another server (RTMP or RTMPS)
          </Button>
        </div>
      ) : (
        <ul className="space-y-3">
          {destinations.map((destination) => (
            <DestinationCard
              key={destination.id}
              destination={destination}
              project={project}
              platforms={platforms}
            />
          ))}
        </ul>
      )}
      {adding && (
        <Dialog title="Add a destination" onClose={() => setAdding(undefined)}>
          <Editor
            project={project}
            platforms={platforms}
            picked={adding.picked}
            onDone={() => setAdding(undefined)}
          />
        </Dialog>
      )}
    </section>
  );
}
