/**
 * `node actor.js ROOT [UID GID GROUP...]`: reads jobs from standard input, one line of JSON each,
 * does them below ROOT and answers each with one line of JSON. It is a process of its own because a
 * mount that hangs, hangs whoever touches it, and because it becomes its user for good.
 */
import { mkdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { AT_FDCWD, O_CLOEXEC, O_RDONLY } from '../../src/shared/sys/constants.ts';
import * as libc from '../../src/shared/sys/libc.ts';
import { type Job, type Outcome, SHARED, workDirectory } from './operations.ts';
import { Performer } from './perform.ts';
import { snapshot } from './snapshot.ts';
import * as sys from './syscalls.ts';

const [, , root, ...user] = process.argv;
const isUser = user.length > 0;
const UMASK = 0o022;

/** The first turn of a trial opens what the last job, `finish`, closes. */
let performer: Performer | undefined;

function becomeUser([uid, gid, ...groups]: readonly number[]): void {
  process.setgroups?.(groups);
  process.setgid?.(gid);
  process.setuid?.(uid);
}

function perform(root: string, job: Job & { job: 'perform' }): Outcome[] {
  if (performer === undefined) {
    process.chdir(`${root}/${job.trial}/${workDirectory(isUser ? undefined : job.actor)}`);
    performer = new Performer(job.actor);
  }
  if (isUser) performer.mistrustAtimes();
  return job.sequence.map((operation) => (performer as Performer).perform(operation));
}

function finish(): null {
  performer?.finish();
  performer = undefined;
  process.umask(UMASK);
  process.chdir('/');
  return null;
}

function prepare(directory: string, actors: number): null {
  if (isUser) {
    mkdirSync(`${directory}/${workDirectory()}`, { recursive: true });
    return null;
  }
  for (let actor = 0; actor < actors; actor += 1) {
    mkdirSync(`${directory}/${workDirectory(actor)}`, { recursive: true });
  }
  mkdirSync(`${directory}/${SHARED}`);
  return null;
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
      return prepare(`${root}/${job.trial}`, job.actors);
    case 'perform':
      return perform(root, job);
    case 'finish':
      return finish();
    case 'snapshot':
      return snapshot(`${job.root}/${job.trial}`);
    case 'flush':
      return flush(root);
    case 'remove':
      return sys.removeTree(`${root}/${job.trial}`);
  }
}

process.umask(UMASK);
if (isUser) becomeUser(user.map(Number));
for await (const line of createInterface({ input: process.stdin })) {
  let reply: unknown;
  try {
    reply = { answer: answer(root, JSON.parse(line) as Job) };
  } catch (error) {
    reply = { failure: String(error) };
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
