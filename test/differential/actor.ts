/**
 * `node actor.js ROOT`: reads jobs from standard input, one line of JSON each, does them below ROOT
 * and answers each with one line of JSON. It is a process of its own because a mount that hangs,
 * hangs whoever touches it.
 */
import { mkdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { AT_FDCWD, O_CLOEXEC, O_RDONLY } from '../../src/shared/sys/constants.ts';
import * as libc from '../../src/shared/sys/libc.ts';
import { actorDirectory, type Job, type Outcome, SHARED } from './operations.ts';
import { Performer } from './perform.ts';
import { snapshot } from './snapshot.ts';
import * as sys from './syscalls.ts';

function perform(root: string, job: Job & { job: 'perform' }): Outcome[] {
  process.chdir(`${root}/${job.trial}/${actorDirectory(job.actor)}`);
  const performer = new Performer(job.actor);
  try {
    return job.sequence.map((operation) => performer.perform(operation));
  } finally {
    performer.finish();
    process.chdir('/');
  }
}

function flush(root: string): number {
  const fd = libc.openat(AT_FDCWD, sys.bytes(root).address, O_RDONLY | O_CLOEXEC, 0);
  const result = libc.syncfs(fd);
  libc.close(fd);
  return result;
}

function answer(root: string, job: Job): unknown {
  switch (job.job) {
    case 'prepare':
      for (let actor = 0; actor < job.actors; actor += 1) {
        mkdirSync(`${root}/${job.trial}/${actorDirectory(actor)}`, { recursive: true });
      }
      mkdirSync(`${root}/${job.trial}/${SHARED}`);
      return null;
    case 'perform':
      return perform(root, job);
    case 'snapshot':
      return snapshot(`${job.root}/${job.trial}`);
    case 'flush':
      return flush(root);
    case 'remove':
      return sys.removeTree(`${root}/${job.trial}`);
  }
}

const root = process.argv[2];
process.umask(0o022);
for await (const line of createInterface({ input: process.stdin })) {
  let reply: unknown;
  try {
    reply = { answer: answer(root, JSON.parse(line) as Job) };
  } catch (error) {
    reply = { failure: String(error) };
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
