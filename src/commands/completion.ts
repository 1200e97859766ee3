import { Args, type Command } from '@oclif/core';
import { bashCompletion, type CompletedCommand, type CompletedFlag, zshCompletion } from '../ui/completion.js';
import { DamsonCommand } from './base.js';

export default class Completion extends DamsonCommand<typeof Completion> {
  static override summary = 'Print a script that completes commands and flags in a shell.';
  static override examples = [
    { description: 'In ~/.bashrc', command: 'eval "$(<%= config.bin %> completion bash)"' },
    { description: 'In ~/.zshrc, behind compinit', command: 'eval "$(<%= config.bin %> completion zsh)"' },
  ];
  static override args = {
    shell: Args.string({ required: true, options: ['bash', 'zsh'], description: 'which shell' }),
  };

  async run(): Promise<{ shell: string; script: string }> {
    const shell = this.args.shell as string;
    const commands = this.config.commands.filter(({ hidden }) => !hidden).map(completed);
    commands.sort((a, b) => (a.name < b.name ? -1 : 1));
    const script = (shell === 'zsh' ? zshCompletion : bashCompletion)(this.config.bin, commands);
    this.log(script.trimEnd());
    return { shell, script };
  }
}

const HELP: CompletedFlag = { names: ['--help'], summary: 'arguments and examples', takesValue: false, values: [] };

function completed({ id, summary, flags, args }: Command.Loadable): CompletedCommand {
  const [argument] = Object.values(args);
  return {
    name: id.replaceAll(':', ' '),
    summary: summary ?? '',
    values: [...(argument?.options ?? [])],
    flags: [
      ...Object.values(flags)
        .filter(({ hidden }) => !hidden)
        .map(completedFlag),
      HELP,
    ],
  };
}

function completedFlag(flag: Command.Flag.Cached): CompletedFlag {
  return {
    names: [`--${flag.name}`, ...(flag.char === undefined ? [] : [`-${flag.char}`])],
    summary: flag.summary ?? '',
    takesValue: flag.type === 'option',
    values: flag.type === 'option' ? [...(flag.options ?? [])] : [],
  };
}
