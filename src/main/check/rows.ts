/** What `sluice check` finds, one row for each question. */

/**
 * `ok`; `note`: sluice works, with less speed or fewer abilities; `problem`: it does not mount.
 */
export type CheckState = 'ok' | 'note' | 'problem';

export interface CheckRow {
  readonly what: string;
  readonly state: CheckState;
  /** What was found. */
  readonly found: string;
  /** What to change, where something could be better. */
  readonly change: string | null;
}

export function ok(what: string, found: string): CheckRow {
  return { what, state: 'ok', found, change: null };
}

export function note(what: string, found: string, change: string): CheckRow {
  return { what, state: 'note', found, change };
}

export function problem(what: string, found: string, change: string): CheckRow {
  return { what, state: 'problem', found, change };
}
