import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useId, useState } from "react";

import { api, type Destination, type Platform, Problem, type Project, take } from "../../api/client";
import { Button } from "../../components/ui/button";
import { Check, Failure, Field } from "../../components/ui/field";
import { isAnother } from "../../lib/recipient";
import { projectQuery } from "../live/follow";
import { Mark } from "./mark";

/** Listed first: the most popular platforms. */
const usual = ["youtube", "twitch", "facebook", "kick", "tiktok", "x"];

type Props = {
  project: Project;
  platforms: Platform[];
  /** The destination to edit; absent for a new one. */
  destination?: Destination;
  /** The platform, if already selected. */
  picked?: string | undefined;
  onDone: () => void;
};

/** Adds or edits a destination. */
export function Editor({ project, platforms, destination, picked, onDone }: Props) {
  const [platformId, setPlatformId] = useState(destination?.platform ?? picked);
  if (!platformId) return <Picker platforms={platforms} onPick={setPlatformId} />;
  return (
    <Form
      key={platformId}
      project={project}
      platform={platforms.find(({ id }) => id === platformId)}
      platformId={platformId}
      destination={destination}
      onDone={onDone}
    />
  );
}

export function Picker({ platforms, onPick }: { platforms: Platform[]; onPick: (id: string) => void }) {
  const [search, setSearch] = useState("");
  const wanted = search.trim().toLowerCase();
  const found = platforms
    .filter(({ name, id }) => id !== "custom" && name.toLowerCase().includes(wanted))
    .sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
  return (
    <div className="space-y-4">
      <Field
        label="Platform"
        type="search"
        placeholder="Search"
        value={search}
        onChange={(e) => setSearch(e.target.value)}
      />
      <ul className="grid sm:grid-cols-2 gap-2 max-h-80 overflow-y-auto p-0.5">
        {found.map(({ id, name }) => (
          <li key={id}>
            <PlatformButton name={name} onClick={() => onPick(id)} />
          </li>
        ))}
        {found.length === 0 && (
          <li className="text-muted">No platform with that name. Any RTMP server works, see below.</li>
        )}
      </ul>
      <Button className="w-full" onClick={() => onPick("custom")}>
        Another server (RTMP or RTMPS)
      </Button>
    </div>
  );
}

function rank({ id }: Platform) {
  const index = usual.indexOf(id);
  return index < 0 ? usual.length : index;
}

export function PlatformButton({ name, onClick }: { name: string; onClick: () => void }) {
  return (
    <button
      type="button"
      onClick={onClick}
      className="panel w-full flex items-center gap-3 p-2 text-left hover:bg-sunken transition-colors duration-100"
    >
      <Mark name={name} />
      <span className="truncate">{name}</span>
    </button>
  );
}

type FormProps = {
  project: Project;
  platform: Platform | undefined;
  platformId: string;
  destination: Destination | undefined;
  onDone: () => void;
};

function Form({ project, platform, platformId, destination, onDone }: FormProps) {
  const cache = useQueryClient();
  const serverId = useId();
  const [name, setName] = useState(destination?.name ?? platform?.name ?? "");
  const [rtmpUrl, setUrl] = useState(destination?.rtmpUrl ?? platform?.servers[0]?.url ?? "");
  const [streamKey, setKey] = useState("");
  const [backup, setBackup] = useState(destination?.backupUrl ?? "");
  const [delay, setDelay] = useState(String(destination?.delaySeconds ?? 0));
  const delaySeconds = Math.round(Number(delay)) || 0;
  const offered = platform?.servers.find(({ url }) => url === rtmpUrl)?.backup;
  const backupUrl = backup || null;
  // The server will require the key; the form says so before it is sent.
  const isMoved =
    destination !== undefined &&
    [rtmpUrl, backup].some((url) => isAnother(url, [destination.rtmpUrl, destination.backupUrl]));
  const save = useMutation({
    mutationFn: () => {
      if (destination) {
        const body = { name, rtmpUrl, backupUrl, delaySeconds, ...(streamKey ? { streamKey } : {}) };
        return take(api.PATCH("/api/destinations/{id}", { params: { path: { id: destination.id } }, body }));
      }
      const body = {
        platform: platformId,
        name,
        rtmpUrl,
        backupUrl,
        delaySeconds,
        streamKey,
        enabled: false,
      };
      return take(
        api.POST("/api/projects/{id}/destinations", { params: { path: { id: project.id } }, body }),
      );
    },
    onSuccess: () => cache.invalidateQueries(projectQuery(project.id)).then(onDone),
  });
  const problem = save.error instanceof Problem ? save.error : undefined;
  const fields = problem?.fields ?? {};
  const servers = platform?.servers ?? [];
  // Keep the backup server of the selected server.
  const pick = (url: string) => {
    if (backup && backup === offered) setBackup(servers.find((server) => server.url === url)?.backup ?? "");
    setUrl(url);
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    save.mutate();
  };
  return (
    <form onSubmit={submit} noValidate className="space-y-4">
      <Field
        label="Name"
        value={name}
        onChange={(e) => setName(e.target.value)}
        error={fields.name}
        maxLength={100}
      />
      {servers.length > 1 && (
        <div>
          <label htmlFor={serverId} className="block font-medium mb-1">
            Nearest server
          </label>
          <select
            id={serverId}
            className="field"
            value={servers.some(({ url }) => url === rtmpUrl) ? rtmpUrl : ""}
            onChange={(e) => e.target.value && pick(e.target.value)}
          >
            <option value="">as entered below</option>
            {servers.map(({ name, url }) => (
              <option key={url} value={url}>
                {name}
              </option>
            ))}
          </select>
        </div>
      )}
      <Field
        label="Server URL"
        value={rtmpUrl}
        onChange={(e) => setUrl(e.target.value)}
        error={fields.rtmpUrl}
        placeholder="rtmps://server/app"
        spellCheck={false}
        hint={servers.length === 0 ? "The platform shows it next to the stream key." : undefined}
      />
      <Field
        label="Stream key"
        type="password"
        autoComplete="off"
        value={streamKey}
        onChange={(e) => setKey(e.target.value)}
        error={fields.streamKey}
        placeholder={destination && !isMoved ? `${destination.streamKeyHint} (unchanged)` : ""}
        required={isMoved}
        spellCheck={false}
        hint={
          <>
            {isMoved && "This is another server. Enter the key again to confirm that it may be sent there. "}
            {platform?.keyUrl && (
              <a href={platform.keyUrl} target="_blank" rel="noreferrer" className="underline">
                Find it on {platform.name}
              </a>
            )}
          </>
        }
      />
      {offered && (
        <Check
          label="Send to the backup server, too"
          hint={`${platform?.name} switches over when one connection fails. This doubles the bandwidth.`}
          checked={backup === offered}
          onChange={(on) => setBackup(on ? offered : "")}
        />
      )}
      {!offered && (
        <details open={Boolean(backup || fields.backupUrl)}>
          <summary className="text-muted">Backup server</summary>
          <div className="pt-2">
            <Field
              label="Backup server URL"
              value={backup}
              onChange={(e) => setBackup(e.target.value)}
              error={fields.backupUrl}
              placeholder="rtmps://second-server/app"
              spellCheck={false}
              hint="Gets the same stream with the same key. Leave it empty if the platform has none."
            />
          </div>
        </details>
      )}
      <details open={delaySeconds !== 0 || Boolean(fields.delaySeconds)}>
        <summary className="text-muted">Delay</summary>
        <div className="pt-2">
          <Field
            label="Delay in seconds"
            type="number"
            min={0}
            max={300}
            step={1}
            value={delay}
            onChange={(e) => setDelay(e.target.value)}
            error={fields.delaySeconds}
            hint="Sends the stream later, for example so that you can stop it before viewers see a mistake. 0 to 300. If you change it while live, viewers see a part again, or miss one."
          />
        </div>
      </details>
      {platform && <Limits platform={platform} />}
      {problem && Object.keys(fields).length === 0 && <Failure>{problem.message}</Failure>}
      <div className="flex justify-end">
        <Button type="submit" look="primary" busy={save.isPending && "Saving…"}>
          {destination ? "Save" : "Add destination"}
        </Button>
      </div>
    </form>
  );
}

function Limits({ platform: { name, limits } }: { platform: Platform }) {
  const words = [
    limits.videoKbps && `${limits.videoKbps} kbit/s video`,
    limits.resolution?.replace("x", "×"),
    limits.fps && `${limits.fps} fps`,
    limits.keyframeSeconds && `a keyframe every ${limits.keyframeSeconds} s`,
  ].filter(Boolean);
  if (words.length === 0) return null;
  return (
    <p className="text-muted">
      {name} accepts up to {words.join(", ")}.
    </p>
  );
}
