import { Check } from "../../components/ui/field";

/** What to revoke together with the sessions of an account. */
export type Also = { endTokens: boolean; renewStreamKeys: boolean };

/** Tokens may be an intruder's, so they are revoked by default; new stream keys must be entered in every encoder. */
export const usually: Also = { endTokens: true, renewStreamKeys: false };

type Props = { also: Also; onChange: (also: Also) => void };

/** Options for what to revoke besides sessions. */
export function AlsoEnds({ also, onChange }: Props) {
  return (
    <div className="space-y-3">
      <Check
        label="Revoke API tokens, too"
        checked={also.endTokens}
        onChange={(endTokens) => onChange({ ...also, endTokens })}
      />
      <Check
        label="Give every project a new stream key"
        hint="Ends live streams. Then enter the new keys in your encoders."
        checked={also.renewStreamKeys}
        onChange={(renewStreamKeys) => onChange({ ...also, renewStreamKeys })}
      />
    </div>
  );
}
