import { useEffect, useRef } from "react";
import type uPlot from "uplot";

import type { Destination } from "../../api/client";
import { bitrate } from "../../lib/format";
import { type Sample, useSamples } from "./follow";

const HEIGHT = 120;

const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const timeOfDay = (seconds: number) => time.format(seconds * 1000);

type Line = { label: string; value: (sample: Sample) => number };

/** Incoming and outgoing bitrates of the last ten minutes. The chart library is loaded on demand. */
export function Charts({ id, destinations }: { id: string; destinations: Destination[] }) {
  const samples = useSamples(id);
  if (samples.length < 3) return null;
  const incoming = [{ label: "Incoming", value: (sample: Sample) => sample.kbps }];
  const frames = [{ label: "Frames per second", value: (sample: Sample) => sample.fps }];
  const outgoing = destinations
    .filter((destination) => destination.enabled)
    .map(({ id, name }) => ({ label: name, value: (sample: Sample) => sample.relays[id] ?? 0 }));
  return (
    <section className="panel p-4 space-y-4" aria-label="The last ten minutes">
      <Chart title="Incoming bitrate" lines={incoming} samples={samples} unit={bitrate} />
      <Chart
        title="Incoming frames per second"
        lines={frames}
        samples={samples}
        unit={(fps) => `${Math.round(fps)} fps`}
      />
      {outgoing.length > 0 && (
        <Chart title="Outgoing bitrate" lines={outgoing} samples={samples} unit={bitrate} />
      )}
    </section>
  );
}

type Props = { title: string; lines: Line[]; samples: Sample[]; unit: (value: number) => string };

/** Lines differ by their dashes, because colour means state on this page. */
const dashes = [[], [6, 3], [2, 3], [10, 4, 2, 4], [1, 4]];

function Chart({ title, lines, samples, unit }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const data = [
    samples.map(({ at }) => at),
    ...lines.map(({ value }) => samples.map(value)),
  ] as uPlot.AlignedData;
  const newest = useRef(data);
  newest.current = data;
  const names = lines.map(({ label }) => label).join("\n");
  const last = samples.at(-1);

  // Recreated when the set of lines changes; the data is set below.
  useEffect(() => {
    let closed = false;
    let resize: ResizeObserver | undefined;
    void Promise.all([import("uplot"), import("uplot/dist/uPlot.min.css")]).then(([{ default: UPlot }]) => {
      const element = place.current;
      if (closed || !element) return;
      // Read at every drawing, because the page may switch between light and dark.
      const style = getComputedStyle(document.documentElement);
      const colour = (name: string) => () => style.getPropertyValue(name);
      const axis = {
        stroke: colour("--muted"),
        grid: { stroke: colour("--line"), width: 1 },
        ticks: { show: false },
      };
      plot.current = new UPlot(
        {
          width: element.clientWidth,
          height: HEIGHT,
          // Space for half of the last label.
          padding: [null, 32, null, null],
          legend: { show: false },
          cursor: { show: false },
          scales: { y: { range: (_, __, max) => [0, Math.max(1, max * 1.15)] } },
          axes: [
            { ...axis, space: 90, values: (_, at) => at.map(timeOfDay) },
            { ...axis, size: 76, values: (_, values) => values.map(unit) },
          ],
          series: [
            {},
            ...lines.map(({ label }, index) => ({
              label,
              stroke: colour("--accent"),
              width: 1.5,
              dash: dashes[index % dashes.length] ?? [],
              points: { show: false },
            })),
          ],
        },
        newest.current,
        element,
      );
      resize = new ResizeObserver(() =>
        plot.current?.setSize({ width: element.clientWidth, height: HEIGHT }),
      );
      resize.observe(element);
    });
    return () => {
      closed = true;
      resize?.disconnect();
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, [names]);
  useEffect(() => plot.current?.setData(newest.current));

  return (
    <div>
      <h3 className="font-medium flex justify-between gap-3">
        {title}
        <span className="text-muted font-normal">
          {last &&
            lines
              .map(({ label, value }) =>
                lines.length > 1 ? `${label} ${unit(value(last))}` : unit(value(last)),
              )
              .join(" · ")}
        </span>
      </h3>
      <div ref={place} className="h-[120px]" role="img" aria-label={`${title}, last ten minutes`} />
    </div>
  );
}
