/**
 * Failures a person can act on: one line that names the thing, the reason and the cure, a stable
 * code for programs, and an exit status that mount(8) understands.
 */

/** Exit statuses of the `sluice` command, as mount(8) defines them. */
export const EXIT = {
  ok: 0,
  usage: 1,
  system: 2,
  bug: 4,
  interrupted: 8,
  mount: 32,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** What each exit status means: the source of the table in the help and in docs/options.md. */
export const EXIT_MEANINGS: readonly (readonly [ExitCode, string])[] = [
  [EXIT.ok, 'mounted (--background), or unmounted again after serving'],
  [EXIT.usage, 'bad invocation, bad option, or not permitted'],
  [EXIT.system, 'a system limit or lack of memory'],
  [EXIT.bug, 'a defect in sluice'],
  [EXIT.interrupted, 'interrupted before the mount was usable'],
  [EXIT.mount, 'mount failure: /dev/fuse, the source, the mountpoint or the kernel'],
];

/** Every error code and the exit status it ends the command with. */
const EXIT_CODES = {
  ERR_SLUICE_OPTION: EXIT.usage,
  ERR_SLUICE_USAGE: EXIT.usage,
  ERR_SLUICE_PERMISSION: EXIT.usage,
  ERR_SLUICE_LIMIT: EXIT.system,
  ERR_SLUICE_SYSTEM: EXIT.system,
  ERR_SLUICE_BUG: EXIT.bug,
  ERR_SLUICE_INTERRUPTED: EXIT.interrupted,
  ERR_SLUICE_NO_DEVICE: EXIT.mount,
  ERR_SLUICE_KERNEL: EXIT.mount,
  ERR_SLUICE_MOUNT: EXIT.mount,
  ERR_SLUICE_SOURCE: EXIT.mount,
  ERR_SLUICE_MOUNTPOINT: EXIT.mount,
} as const satisfies Record<string, ExitCode>;

export type SluiceErrorCode = keyof typeof EXIT_CODES;

/** A failure with a stable code. The message has no `sluice: ` before it and no full stop. */
export class SluiceError extends Error {
  override readonly name = 'SluiceError';
  readonly code: SluiceErrorCode;
  readonly exitCode: ExitCode;

  /**
   * @param code what failed; it fixes the exit status
   * @param message the thing, the reason and the cure, in one line
   * @param options `cause`: the error below, if there was one
   */
  constructor(code: SluiceErrorCode, message: string, options?: ErrorOptions) {
    super(oneLine(message), options);
    this.code = code;
    this.exitCode = EXIT_CODES[code];
  }
}

/** Control characters made visible, so that no path can break a line or drive a terminal. */
export function oneLine(text: string): string {
  return text.replace(
    /[\p{Cc}\u2028\u2029]/gu,
    (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

/** What the command says and exits with after `error`, which may be anything that was thrown. */
export function describeFailure(error: unknown): { line: string; exitCode: ExitCode } {
  if (error instanceof SluiceError) {
    return { line: `sluice: ${error.message}`, exitCode: error.exitCode };
  }
  const reason = error instanceof Error ? error.message : String(error);
  return {
    line: `sluice: internal error: ${oneLine(reason)}; please report it`,
    exitCode: EXIT.bug,
  };
}
