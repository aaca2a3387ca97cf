/** Micro benchmarks, by mitata: what one step of a request costs on one thread. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { run } from 'mitata';
import { parseOutputFile } from './arguments.ts';
import { describeHost } from './host.ts';
import { decodingBenchmarks } from './micro/decoding.ts';
import { ringBenchmarks } from './micro/rings.ts';
import { syscallBenchmarks } from './micro/syscalls.ts';
import { tableBenchmarks } from './micro/tables.ts';

interface MicroOptions {
  readonly filter?: string;
  readonly format: 'mitata' | 'json' | 'markdown';
  readonly json?: string;
  readonly dir: string;
}

async function main(): Promise<void> {
  const options = new Command('micro')
    .description('Measures the steps of a request by themselves, on one thread.')
    .option('--filter <regexp>', 'only those whose names match')
    .addOption(
      new Option('--format <format>', 'how it is printed')
        .choices(['mitata', 'json', 'markdown'])
        .default('mitata'),
    )
    .option('--json <file>', 'write all figures', parseOutputFile)
    .option('--dir <dir>', 'where the files of the system calls are made', tmpdir())
    .parse()
    .opts<MicroOptions>();
  const workDir = mkdtempSync(join(options.dir, 'sluice-micro-'));
  try {
    decodingBenchmarks(workDir);
    tableBenchmarks();
    ringBenchmarks();
    const left = syscallBenchmarks(workDir);
    const host = describeHost();
    console.log(`${host.date}  ${host.cpu}, load ${host.load}  Node ${host.node}\n`);
    const result = await run({
      format: options.format,
      colors: process.stdout.isTTY === true,
      ...(options.filter !== undefined && { filter: new RegExp(options.filter) }),
    });
    console.log(`\nWrappers of system calls without a figure:\n${left}`);
    if (options.json !== undefined) {
      writeFileSync(options.json, `${JSON.stringify({ host, ...result }, null, 1)}\n`);
    }
  } finally {
    rmSync(workDir, { recursive: true, force: true });
  }
}

try {
  await main();
} catch (error) {
  console.error(`micro: ${(error as Error).message}`);
  process.exitCode = 1;
}
