/** What a behaviour on the mount is worth beside the same on the plain directory. */
import { knownDifference } from './known.ts';
import type { Trial } from './trial.ts';

export type Verdict =
  /** As it should be, on both. */
  | 'holds'
  /** The backing does not have it, and the mount does the same. */
  | 'as backing'
  /** It cannot be tried on this backing or machine. */
  | 'not here'
  /** It differs, as every FUSE mount does. */
  | 'known'
  | 'fails';

export interface Judgement {
  readonly name: string;
  readonly verdict: Verdict;
  /** Why it is not held. */
  readonly detail?: string;
}

const CONTEXT_LINES = 6;

/** The lines before and at the first difference. */
function difference(plain: Trial, mounted: Trial): string | undefined {
  const length = Math.max(plain.log.length, mounted.log.length);
  for (let at = 0; at < length; at += 1) {
    if (plain.log[at] === mounted.log[at]) continue;
    return [
      ...plain.log.slice(Math.max(0, at - CONTEXT_LINES), at).map((line) => `    ${line}`),
      `    plain: ${plain.log[at] ?? '(ends)'}`,
      `    mount: ${mounted.log[at] ?? '(ends)'}`,
    ].join('\n');
  }
  return undefined;
}

function tell(plain: Trial, mounted: Trial): string {
  return [
    `${plain.name}`,
    `  plain: ${plain.unmet ?? plain.notHere ?? 'holds'}`,
    `  mount: ${mounted.unmet ?? mounted.notHere ?? 'holds'}`,
    difference(plain, mounted) ?? `    ${mounted.log.slice(-CONTEXT_LINES).join('\n    ')}`,
  ].join('\n');
}

function judgeOne(plain: Trial, mounted: Trial | undefined): Judgement {
  const { name } = plain;
  if (mounted === undefined) return { name, verdict: 'fails', detail: `${name}: not reached` };
  const isSame =
    difference(plain, mounted) === undefined &&
    plain.unmet === mounted.unmet &&
    plain.notHere === mounted.notHere;
  if (!isSame) return { name, verdict: 'fails', detail: tell(plain, mounted) };
  if (plain.notHere !== undefined) return { name, verdict: 'not here', detail: plain.notHere };
  if (plain.unmet !== undefined) return { name, verdict: 'as backing', detail: plain.unmet };
  return { name, verdict: 'holds' };
}

/**
 * Judges what was tried on the mount, in the order of the plain directory's trials.
 *
 * @param flags - those of the mount, and the file system behind it, by which some differences are
 * known
 */
export function judge(
  plain: readonly Trial[],
  mounted: readonly Trial[],
  flags: readonly string[],
): Judgement[] {
  const byName = new Map(mounted.map((trial) => [trial.name, trial]));
  return plain.map((trial) => {
    const judgement = judgeOne(trial, byName.get(trial.name));
    const reason = knownDifference(trial.name, flags);
    return judgement.verdict === 'fails' && reason !== undefined
      ? { name: trial.name, verdict: 'known', detail: reason }
      : judgement;
  });
}
