/** `sluice completion SHELL`. */
import type { Command } from 'commander';
import { EXIT, type ExitCode } from '../../shared/errors.ts';
import { bashScript } from '../completion/bash.ts';
import { fishScript } from '../completion/fish.ts';
import { completionModel } from '../completion/model.ts';
import { zshScript } from '../completion/zsh.ts';
import { writeOutput } from './output.ts';

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;

/** Prints the script for a shell, made from the program with all its commands. */
export async function runCompletion(
  shell: keyof typeof SCRIPTS,
  program: Command,
): Promise<ExitCode> {
  await writeOutput(SCRIPTS[shell](completionModel(program)));
  return EXIT.ok;
}
