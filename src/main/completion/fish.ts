/** The completion script for fish 3. */
import {
  type CompletedCommand,
  type CompletedOption,
  type CompletionModel,
  type ListItem,
  MOUNTS_AWK,
  type Wanted,
} from './model.ts';

/** The script. */
export function fishScript({ commands, options, list }: CompletionModel): string {
  const lines = [
    ...commands.map(
      ({ name, help }) =>
        `complete -c sluice -n __fish_use_subcommand -a ${name} -d ${quote(help)}`,
    ),
    ...options.map((option) => optionLine(option, '__fish_use_subcommand')),
    ...commands.flatMap(commandLines),
  ];
  return `# fish completion for sluice; made by "sluice completion fish"

function __sluice_mounts
  awk '${MOUNTS_AWK}' /proc/self/mountinfo 2>/dev/null | while read -l mount
    printf '%b\\n' $mount
  end
end

# Behind the last comma, what is before it stays.
function __sluice_list
  set -l lead (string match -r '^.*,' -- (commandline -ct | string replace -r '^-o' ''))
  printf "$lead%s\\n" ${list.flatMap(listWords).join(' ')}
end

complete -c sluice -f
${lines.join('\n')}
`;
}

function commandLines({ name, options, operands }: CompletedCommand): string[] {
  const condition = `__fish_seen_subcommand_from ${name}`;
  // fish does not number operands: all kinds are offered.
  const kinds = new Set(operands.map(candidates).filter((words) => words !== undefined));
  return [
    ...options.map((option) => optionLine(option, condition)),
    ...[...kinds].map((words) => `complete -c sluice -n ${quote(condition)} -a ${quote(words)}`),
  ];
}

function optionLine({ flags, help, value }: CompletedOption, condition: string): string {
  const names = flags.map((flag) =>
    flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`,
  );
  return [
    `complete -c sluice -n ${quote(condition)}`,
    ...names,
    ...valueArguments(value),
    `-d ${quote(help)}`,
  ].join(' ');
}

function valueArguments(value: Wanted): string[] {
  if (value.kind === 'nothing') return [];
  if (value.kind === 'file') return ['-r -F'];
  const words = candidates(value);
  return words === undefined ? ['-x'] : [`-x -a ${quote(words)}`];
}

function candidates(wanted: Wanted): string | undefined {
  switch (wanted.kind) {
    case 'words':
      return wanted.words.join(' ');
    case 'directory':
      return '(__fish_complete_directories)';
    case 'mount':
      return '(__sluice_mounts)';
    case 'list':
      return '(__sluice_list)';
    default:
      return undefined;
  }
}

function listWords({ name, value }: ListItem): string[] {
  if (value.kind === 'nothing') return [name];
  return value.kind === 'words' ? value.words.map((word) => `${name}=${word}`) : [`${name}=`];
}

function quote(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`;
}
