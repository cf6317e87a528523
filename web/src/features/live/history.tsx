import { useInfiniteQuery } from "@tanstack/react-query";

import { api, take } from "../../api/client";
import { Button } from "../../components/ui/button";
import { Failure } from "../../components/ui/field";
import { duration, moment } from "../../lib/format";

const reasons: Record<string, string> = {
  encoder_stopped: "you stopped",
  encoder_lost: "your encoder did not come back",
  ended_by_owner: "you ended it here",
  server_stopped: "the server was stopped",
  server_killed: "the server broke off",
};

/** Past streams, newest first. `changed` names what they depend on: the running stream. */
export function History({ id, changed }: { id: string; changed: string | undefined }) {
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
    return <p className="text-muted">Nothing yet. Each stream is listed here when it is over.</p>;
  return (
    <>
      <ul className="divide-y divide-line" data-testid="history">
        {streams.map((stream) => (
          <li key={stream.id} className="py-2 flex flex-wrap justify-between gap-x-4">
            <span>{moment(stream.startedAt)}</span>
            <span className="text-muted">
              {duration(Date.parse(stream.endedAt ?? "") - Date.parse(stream.startedAt))}
              {stream.endReason && `, ${reasons[stream.endReason] ?? stream.endReason}`}
            </span>
          </li>
        ))}
      </ul>
      {pages.hasNextPage && (
        <Button onClick={() => pages.fetchNextPage()} busy={pages.isFetchingNextPage && "Loading…"}>
          Older
        </Button>
      )}
    </>
  );
}
