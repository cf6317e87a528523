import { type InputHTMLAttributes, type ReactNode, useId } from "react";

type Props = InputHTMLAttributes<HTMLInputElement> & {
  label: string;
  hint?: ReactNode;
  error?: string | undefined;
};

/** A labelled input. Its error is next to it and read by screen readers. */
export function Field({ label, hint, error, ...rest }: Props) {
  const id = useId();
  return (
    <div>
      <label htmlFor={id} className="block font-medium mb-1">
        {label}
      </label>
      <input
        id={id}
        {...rest}
        className="field"
        aria-invalid={Boolean(error)}
        aria-describedby={error || hint ? `${id}-about` : undefined}
      />
      {(error || hint) && (
        <p
          id={`${id}-about`}
          className={`mt-1 ${error ? "text-bad" : "text-muted"}`}
          role={error ? "alert" : undefined}
        >
          {error || hint}
        </p>
      )}
    </div>
  );
}

type CheckProps = { label: string; hint?: string; checked: boolean; onChange: (checked: boolean) => void };

/** A labelled checkbox. */
export function Check({ label, hint, checked, onChange }: CheckProps) {
  const id = useId();
  return (
    <div className="flex gap-3 items-start">
      <input
        id={id}
        type="checkbox"
        className="size-4 mt-1 accent-accent"
        checked={checked}
        onChange={(event) => onChange(event.target.checked)}
        aria-describedby={hint ? `${id}-about` : undefined}
      />
      <div>
        <label htmlFor={id} className="font-medium">
          {label}
        </label>
        {hint && (
          <p id={`${id}-about`} className="text-muted">
            {hint}
          </p>
        )}
      </div>
    </div>
  );
}

type ChoiceProps<T extends string> = {
  label: string;
  /** The options with their labels. */
  choices: Readonly<Record<T, string>>;
  value: T;
  onChange: (value: T) => void;
};

/** A labelled select. */
export function Choice<T extends string>({ label, choices, value, onChange }: ChoiceProps<T>) {
  const id = useId();
  return (
    <div>
      <label htmlFor={id} className="block font-medium mb-1">
        {label}
      </label>
      <select id={id} className="field" value={value} onChange={(event) => onChange(event.target.value as T)}>
        {(Object.entries(choices) as [T, string][]).map(([choice, words]) => (
          <option key={choice} value={choice}>
            {words}
          </option>
        ))}
      </select>
    </div>
  );
}

/** An error message. */
export function Failure({ children }: { children: ReactNode }) {
  return (
    <p role="alert" className="bg-bad-soft text-bad rounded-lg px-3 py-2">
      <span aria-hidden="true">▲ </span>
      {children}
    </p>
  );
}
