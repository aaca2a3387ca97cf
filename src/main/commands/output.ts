/** What a command is asked for goes to stdout. */
import { SluiceError } from '../../shared/errors.ts';

/**
 * Writes it whole. A reader that has seen enough, as in `sluice status | head`, is no failure.
 * @throws SluiceError ERR_SLUICE_SYSTEM when it cannot be written: a full disk
 */
export function writeOutput(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => {
      const code = (error as NodeJS.ErrnoException | null | undefined)?.code;
      if (!error || code === 'EPIPE') {
        resolve();
        return;
      }
      const message = `the output cannot be written (${code ?? error.message}); make room, or write it elsewhere`;
      reject(new SluiceError('ERR_SLUICE_SYSTEM', message, { cause: error }));
    });
  });
}
