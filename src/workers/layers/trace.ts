/** The layer that writes down what is asked and answered. */
import { openSync, writeSync } from 'node:fs';
import { errnoName } from '../../shared/abi/errno.ts';
import { oneLine } from '../../shared/errors.ts';
import type { Answer, FsRequest, LayerFactory } from '../../shared/layers/types.ts';

const STDERR = 2;
const MOST_TEXT_BYTES = 255;
/** The payload of a write would be copied to be looked at. */
const UNSEEN = ['operation', 'caller', 'data'];

function textOf(value: unknown): string {
  if (value instanceof Uint8Array) {
    return JSON.stringify(Buffer.from(value.subarray(0, MOST_TEXT_BYTES)).toString('latin1'));
  }
  return typeof value === 'object' ? '{}' : String(value);
}

function asked(request: FsRequest): string {
  return Object.keys(request)
    .filter((key) => !UNSEEN.includes(key))
    .map((key) => `${key}=${textOf((request as unknown as Record<string, unknown>)[key])}`)
    .join(' ');
}

function answered(answer: Answer): string {
  if (typeof answer === 'number') return answer < 0 ? errnoName(answer) : String(answer);
  if (answer instanceof Uint8Array) return `${answer.length} bytes`;
  if (Array.isArray(answer)) return `${answer.length} entries`;
  return 'nodeid' in answer ? `nodeid ${answer.nodeid}` : 'ok';
}

const makeTrace: LayerFactory<{ file?: string; operations?: readonly string[] }> = (
  { file, operations },
  { thread },
) => {
  const fd = file === undefined || thread === 'main' ? STDERR : openSync(file, 'a', 0o640);
  const isWanted = (operation: string) => operations?.includes(operation) ?? true;
  return {
    name: 'trace',
    otherwise(request, next) {
      if (!isWanted(request.operation)) return next.run(request);
      const beganMs = performance.now();
      const answer = next.run(request);
      const us = Math.round((performance.now() - beganMs) * 1000);
      const { uid, pid } = request.caller;
      const line = `${request.operation} uid=${uid} pid=${pid} ${asked(request)} = ${answered(answer)} ${us}us ${thread}`;
      writeSync(fd, `${oneLine(line)}\n`);
      return answer;
    },
  };
};

export default makeTrace;
