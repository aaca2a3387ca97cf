/** The completion script for zsh: the text of a file `_sluice` in $fpath. */
import {
  type CompletedCommand,
  type CompletedOption,
  type CompletionModel,
  type ListItem,
  MOUNTS_AWK,
  type Wanted,
} from './model.ts';

/** The script. */
export function zshScript({ commands, options, list }: CompletionModel): string {
  const names = commands.map(({ name, help }) => `    ${quote(`${escapeName(name)}:${help}`)}`);
  return `#compdef sluice
# zsh completion for sluice; made by "sluice completion zsh"

_sluice_mounts() {
  local -a mounts
  mounts=(\${(f)"$(awk '${MOUNTS_AWK}' /proc/self/mountinfo 2>/dev/null)"})
  mounts=(\${(g:o:)mounts})
  compadd -f -- $mounts
}

_sluice_list() {
  _values -s , 'option' \\
${continued(list.map(listSpec))}
}

_sluice_commands() {
  local -a commands
  commands=(
${names.join('\n')}
  )
  _describe command commands
}

_sluice() {
  local curcontext=$curcontext state line
  typeset -A opt_args
  _arguments -C \\
${continued([...options.flatMap(optionSpecs), quote('1: :_sluice_commands'), quote('*:: :->rest')])}
  [[ $state == rest ]] || return
  case $line[1] in
${commands.map(commandCase).join('\n')}
  esac
}

_sluice "$@"
`;
}

function continued(specs: readonly string[]): string {
  return specs.map((spec) => `    ${spec}`).join(' \\\n');
}

function commandCase({ name, options, operands }: CompletedCommand): string {
  const specs = [
    ...options.flatMap(optionSpecs),
    ...operands.map((wanted, index) => quote(`${index + 1}: :${action(wanted)}`)),
  ];
  return `    ${name})\n      _arguments -s -S \\\n${continued(specs)}\n      ;;`;
}

function optionSpecs({ flags, help, value, isRepeatable }: CompletedOption): string[] {
  const star = isRepeatable ? '*' : '';
  return flags.map((flag) => {
    const takes = value.kind === 'nothing' ? '' : `:value:${action(value)}`;
    const joint = value.kind === 'nothing' ? '' : flag.startsWith('--') ? '=' : '+';
    return quote(`${star}${flag}${joint}[${escapeHelp(help)}]${takes}`);
  });
}

function listSpec({ name, help, value }: ListItem): string {
  const takes = value.kind === 'nothing' ? '' : `:value:${action(value)}`;
  return quote(`${name}[${escapeHelp(help)}]${takes}`);
}

function action(wanted: Wanted): string {
  switch (wanted.kind) {
    case 'words':
      return `(${wanted.words.join(' ')})`;
    case 'file':
      return '_files';
    case 'directory':
      return '_files -/';
    case 'mount':
      return '_sluice_mounts';
    case 'list':
      return '_sluice_list';
    default:
      return ' ';
  }
}

function escapeName(name: string): string {
  return name.replace(/:/g, '\\:');
}

/** In a specification a bracket ends the help, and a colon what comes before it. */
function escapeHelp(help: string): string {
  return help.replace(/[[\]:\\]/g, '\\$&');
}

function quote(text: string): string {
  return `'${text.replace(/'/g, "'\\''")}'`;
}
