import { Check } from "../../components/ui/field";

/** What ends together with the logins of an account. */
export type Also = { endTokens: boolean; renewStreamKeys: boolean };

/** Tokens may be an intruder's, so they end unless asked otherwise; a new stream key has to be put into every encoder. */
export const usually: Also = { endTokens: true, renewStreamKeys: false };

type Props = { also: Also; onChange: (also: Also) => void };

/** Asks what ends besides logins. */
export function AlsoEnds({ also, onChange }: Props) {
  return (
    <div className="space-y-3">
      <Check
        label="End the tokens for scripts, too"
        checked={also.endTokens}
        onChange={(endTokens) => onChange({ ...also, endTokens })}
      />
      <Check
        label="Give every project a new stream key"
        hint="Ends what is live now. Put the new keys into your encoders afterwards."
        checked={also.renewStreamKeys}
        onChange={(renewStreamKeys) => onChange({ ...also, renewStreamKeys })}
      />
    </div>
  );
}
