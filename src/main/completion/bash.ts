/** The completion script for bash 4.3 and later; it needs no other package. */
import {
  type CompletedCommand,
  type CompletionModel,
  type ListItem,
  MOUNTS_AWK,
  type Wanted,
} from './model.ts';

/** The script. */
export function bashScript({ commands, options, list }: CompletionModel): string {
  const names = commands.map(({ name }) => name).join(' ');
  const general = options.flatMap(({ flags }) => flags).join(' ');
  return `# bash completion for sluice; made by "sluice completion bash"

# What may stand as the value of an option of a command, or as its operand number N.
_sluice_wanted() {
  case "$1 $2" in
${commands.flatMap(wantedCases).join('\n')}
  esac
}

_sluice_options() {
  case $1 in
${commands.map(optionCase).join('\n')}
  esac
}

_sluice_list='${list.map(listWord).join(' ')}'

_sluice_list_values() {
  case $1 in
${list.flatMap(listCase).join('\n')}
  esac
}

${BODY.replace('@COMMANDS@', names).replace('@OPTIONS@', general).replace('@AWK@', MOUNTS_AWK)}`;
}

function wantedCases({ name, options, operands }: CompletedCommand): string[] {
  const ofOptions = options
    .filter(({ value }) => value.kind !== 'nothing')
    .map(({ flags, value }) => {
      const patterns = flags.map((flag) => `'${name} ${flag}'`).join('|');
      return `    ${patterns}) echo '${describe(value)}' ;;`;
    });
  const ofOperands = operands.map(
    (wanted, index) => `    '${name} ${index + 1}') echo '${describe(wanted)}' ;;`,
  );
  return [...ofOptions, ...ofOperands];
}

function describe(wanted: Wanted): string {
  return wanted.kind === 'words' ? `words ${wanted.words.join(' ')}` : wanted.kind;
}

/** Long options that take a value get their "=". */
function optionCase({ name, options }: CompletedCommand): string {
  const words = options.flatMap(({ flags, value }) =>
    flags.map((flag) => (value.kind !== 'nothing' && flag.startsWith('--') ? `${flag}=` : flag)),
  );
  return `    ${name}) echo '${words.join(' ')}' ;;`;
}

function listWord({ name, value }: ListItem): string {
  return value.kind === 'nothing' ? name : `${name}=`;
}

function listCase({ name, value }: ListItem): string[] {
  return value.kind === 'words' ? [`    ${name}) echo '${value.words.join(' ')}' ;;`] : [];
}

const BODY = `_sluice_mounts() {
  local line
  awk '@AWK@' /proc/self/mountinfo 2>/dev/null | while read -r line; do
    printf '%b\\n' "$line"
  done
}

# Completes $2, of which the part $3 is what was typed of the value, as $1 says.
_sluice_complete() {
  local wanted=$1 whole=$2 value=$3 lead found
  lead=\${whole%"$value"}
  case $wanted in
    words*) mapfile -t COMPREPLY < <(compgen -W "\${wanted#words}" -- "$value") ;;
    file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$value") ;;
    directory) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$value") ;;
    mount)
      compopt -o filenames
      while read -r found; do
        [[ $found == "$value"* ]] && COMPREPLY+=("$found")
      done < <(_sluice_mounts)
      ;;
    list) _sluice_complete_list "$value" ;;
  esac
  # What stands before a "=" the shell takes for a word of its own.
  if [[ $lead == *=* && $COMP_WORDBREAKS != *=* ]]; then
    COMPREPLY=("\${COMPREPLY[@]/#/$lead}")
  fi
}

_sluice_complete_list() {
  local value=$1 lead='' item
  [[ $value == *,* ]] && lead=\${value%,*},
  item=\${value##*,}
  if [[ $item == *=* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(_sluice_list_values "\${item%%=*}")" -- "\${item#*=}")
    [[ $COMP_WORDBREAKS == *=* ]] || COMPREPLY=("\${COMPREPLY[@]/#/$lead\${item%%=*}=}")
  else
    compopt -o nospace
    mapfile -t COMPREPLY < <(compgen -W "$_sluice_list" -- "$item")
    COMPREPLY=("\${COMPREPLY[@]/#/$lead}")
  fi
}

_sluice() {
  local -a words=()
  local word whole command='' before='' operands=0 i
  COMPREPLY=()
  # The words as they were typed: the shell has split them at "=".
  for ((i = 1; i <= COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if ((\${#words[@]} > 0)) && [[ $word == = || \${words[-1]} == *= ]]; then
      words[-1]+=$word
    else
      words+=("$word")
    fi
  done
  whole=\${words[-1]}
  unset 'words[-1]'
  for word in "\${words[@]}"; do
    if [[ -z $command ]]; then
      [[ $word == -* ]] || command=$word
    elif [[ -n $before ]]; then
      before=''
    elif [[ $word == -* ]]; then
      [[ $word != *=* && -n $(_sluice_wanted "$command" "$word") ]] && before=$word
    else
      ((operands++))
    fi
  done
  if [[ -z $command ]]; then
    mapfile -t COMPREPLY < <(compgen -W '@COMMANDS@ @OPTIONS@' -- "$whole")
  elif [[ -n $before ]]; then
    _sluice_complete "$(_sluice_wanted "$command" "$before")" "$whole" "$whole"
  elif [[ $whole == --*=* ]]; then
    _sluice_complete "$(_sluice_wanted "$command" "\${whole%%=*}")" "$whole" "\${whole#*=}"
  elif [[ $whole == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(_sluice_options "$command")" -- "$whole")
    [[ \${COMPREPLY[*]} == *= ]] && compopt -o nospace
  else
    _sluice_complete "$(_sluice_wanted "$command" "$((operands + 1))")" "$whole" "$whole"
  fi
  return 0
}

complete -F _sluice sluice
`;
