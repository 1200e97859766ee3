import { type Command, Help, type Interfaces } from '@oclif/core';

/** oclif's help, with examples also where it has none: for the program and for topics. */
export default class DamsonHelp extends Help {
  protected override async showRootHelp(): Promise<void> {
    await super.showRootHelp();
    const chosen = ['demo', 'state', 'sql'];
    this.showExamples(chosen.map((id) => this.config.findCommand(id)).filter((command) => command !== undefined));
    this.log(`Each command has more: ${this.config.bin} COMMAND --help. Completion: ${this.config.bin} completion --help\n`);
  }

  protected override async showTopicHelp(topic: Interfaces.Topic): Promise<void> {
    await super.showTopicHelp(topic);
    // oclif writes ids with the separator that users type once it has shown them.
    const within = [`${topic.name}:`, `${topic.name} `];
    this.showExamples(this.config.commands.filter(({ id, hidden }) => !hidden && within.some((start) => id.startsWith(start))));
  }

  /** The first example of each command. */
  private showExamples(commands: Command.Loadable[]): void {
    const lines = commands.flatMap(({ examples }) => {
      const [first] = examples ?? [];
      if (first === undefined || typeof first === 'string') return [];
      return [first.description, `  $ ${first.command.replaceAll('<%= config.bin %>', this.config.bin)}`, ''];
    });
    this.log(this.section('EXAMPLES', lines.join('\n').trimEnd()));
    this.log('');
  }
}
