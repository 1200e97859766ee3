/** Completion scripts for shells, made from what the commands say of themselves. */

export interface CompletedFlag {
  /** With dashes, the long form first: `--mode`, `-M`. */
  names: string[];
  summary: string;
  takesValue: boolean;
  /** The values it takes, where they are few. */
  values: string[];
}

export interface CompletedCommand {
  /** As it is typed, without the program: `expand add`. */
  name: string;
  summary: string;
  flags: CompletedFlag[];
  /** Values of its first argument, where they are few. */
  values: string[];
}

type Choice = [word: string, summary: string];

/** What can follow each known sequence of words: commands and topics, or values and flags of a command. */
function choicesByPlace(commands: CompletedCommand[]): Map<string, Choice[]> {
  const places = new Map<string, Map<string, string>>();
  const add = (place: string, word: string, summary: string) => {
    const at = places.get(place) ?? new Map<string, string>();
    if (!at.has(word)) at.set(word, summary);
    places.set(place, at);
  };
  for (const { name, summary, flags, values } of commands) {
    const words = name.split(' ');
    words.forEach((word, i) => {
      const last = i === words.length - 1;
      add(words.slice(0, i).join(' '), word, last ? summary : `commands of ${word}`);
    });
    for (const value of values) add(name, value, value);
    for (const flag of flags) add(name, flag.names[0] as string, flag.summary);
  }
  return new Map([...places].map(([place, choices]) => [place, [...choices]]));
}

/** A pattern of `case` for the flags of a command that take values: `"stop --mode"|"stop -M"`. */
function flagPattern(command: CompletedCommand, flag: CompletedFlag): string {
  return flag.names.map((name) => `"${command.name} ${name}"`).join('|');
}

function valueFlags(commands: CompletedCommand[]): { pattern: string; values: string[] }[] {
  return commands.flatMap((command) =>
    command.flags
      .filter(({ takesValue }) => takesValue)
      .map((flag) => ({ pattern: flagPattern(command, flag), values: flag.values })),
  );
}

const places = (choices: Map<string, Choice[]>) =>
  [...choices.keys()]
    .filter((place) => place !== '')
    .map((place) => `"${place}"`)
    .join('|');

/** For `eval "$(damson completion bash)"` in ~/.bashrc. */
export function bashCompletion(bin: string, commands: CompletedCommand[]): string {
  const choices = choicesByPlace(commands);
  return `# Completion of ${bin} for bash: eval "$(${bin} completion bash)"
_${bin}() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" place="" next words="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    next="\${place:+$place }\${COMP_WORDS[i]}"
    case "$next" in
      ${places(choices)}) place="$next" ;;
      *) break ;;
    esac
  done
  case "$place $previous" in
${valueFlags(commands)
  .map(({ pattern, values }) => `    ${pattern}) words="${values.join(' ')}" ;;`)
  .join('\n')}
    *)
      case "$place" in
${[...choices].map(([place, list]) => `        "${place}") words="${list.map(([word]) => word).join(' ')}" ;;`).join('\n')}
      esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _${bin} ${bin}
`;
}

const zshQuoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
const zshChoice = ([word, summary]: Choice) => zshQuoted(`${word.replaceAll(':', '\\:')}:${summary}`);

/** For `eval "$(damson completion zsh)"` in ~/.zshrc, behind compinit; or as file `_damson` in a directory of $fpath. */
export function zshCompletion(bin: string, commands: CompletedCommand[]): string {
  const choices = choicesByPlace(commands);
  return `#compdef ${bin}
# Completion of ${bin} for zsh: eval "$(${bin} completion zsh)"
_${bin}() {
  local place="" next previous="\${words[CURRENT-1]}"
  local -a choices
  local -i i
  for ((i = 2; i < CURRENT; i++)); do
    next="\${place:+$place }\${words[i]}"
    case "$next" in
      ${places(choices)}) place="$next" ;;
      *) break ;;
    esac
  done
  case "$place $previous" in
${valueFlags(commands)
  .map(({ pattern, values }) => `    ${pattern}) ${values.length === 0 ? '_files' : `compadd -- ${values.join(' ')}`}; return ;;`)
  .join('\n')}
  esac
  case "$place" in
${[...choices].map(([place, list]) => `    "${place}") choices=(${list.map(zshChoice).join(' ')}) ;;`).join('\n')}
  esac
  _describe ${bin} choices || _files
}
if [ "\${funcstack[1]}" = "_${bin}" ]; then _${bin} "$@"; else compdef _${bin} ${bin}; fi
`;
}
