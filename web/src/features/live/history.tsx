import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { api, type Stream, take } from "../../api/client";
import { Button } from "../../components/ui/button";
import { Failure } from "../../components/ui/field";
import { duration, moment } from "../../lib/format";
import { endReasons, Outcomes, Report, summary } from "./report";

/** How long an ended stream is shown at the top of the page. */
const FRESH_MS = 3_600_000;

/** Past streams, newest first. `changed` is the id of the running stream; a change reloads the list. */
export function History({ id, changed }: { id: string; changed: string | undefined }) {
  const [open, setOpen] = useState<Stream>();
  const pages = useInfiniteQuery({
    queryKey: ["streams", id, changed],
    queryFn: ({ pageParam }) =>
      take(
        api.GET("/api/projects/{id}/streams", {
          params: { path: { id }, query: { limit: 10, ...(pageParam ? { cursor: pageParam } : {}) } },
        }),
      ),
    initialPageParam: "",
    getNextPageParam: (page) => page.nextCursor ?? undefined,
  });
  if (pages.isPending) return <div className="skeleton h-24" />;
  if (pages.error) return <Failure>{pages.error.message}</Failure>;
  const streams = pages.data.pages.flatMap((page) => page.items).filter((stream) => stream.endedAt);
  if (streams.length === 0)
    return <p className="text-muted">No streams yet. Each stream is listed here after it ends.</p>;
  return (
    <>
      <ul className="divide-y divide-line" data-testid="history">
        {streams.map((stream) => (
          <li key={stream.id} className="py-2 space-y-1">
            <div className="flex flex-wrap items-center justify-between gap-x-4">
              <span>{moment(stream.startedAt)}</span>
              <span className="text-muted">
                {duration(Date.parse(stream.endedAt ?? "") - Date.parse(stream.startedAt))}
                {stream.endReason && `, ${endReasons[stream.endReason] ?? stream.endReason}`}
              </span>
              <Button
                look="quiet"
                onClick={() => setOpen(stream)}
                aria-label={`Report of ${moment(stream.startedAt)}`}
              >
                Report
              </Button>
            </div>
            <Outcomes outcomes={stream.outcomes ?? []} />
          </li>
        ))}
      </ul>
      {pages.hasNextPage && (
        <Button onClick={() => pages.fetchNextPage()} busy={pages.isFetchingNextPage && "Loading…"}>
          Older
        </Button>
      )}
      {open && <Report id={id} stream={open} onClose={() => setOpen(undefined)} />}
    </>
  );
}

/** A summary of the stream that just ended. */
export function JustOver({ id }: { id: string }) {
  const [open, setOpen] = useState(false);
  const { data: page } = useQuery({
    queryKey: ["streams", id, "newest"],
    queryFn: () =>
      take(api.GET("/api/projects/{id}/streams", { params: { path: { id }, query: { limit: 1 } } })),
    // The row is written shortly after the end.
    refetchInterval: ({ state }) => (state.data?.items[0]?.endedAt === null ? 1_000 : false),
    staleTime: 0,
  });
  const stream = page?.items[0];
  const fresh = stream?.endedAt && Date.now() - Date.parse(stream.endedAt) < FRESH_MS;
  if (!stream || !fresh) return null;
  return (
    <section className="panel p-4 flex flex-wrap items-center justify-between gap-3" data-testid="just-over">
      <p>
        <span className="font-medium">Your stream has ended: </span>
        {summary(stream)}.
      </p>
      <Button onClick={() => setOpen(true)}>Report</Button>
      {open && <Report id={id} stream={stream} onClose={() => setOpen(false)} />}
    </section>
  );
}
