import { Errors } from '@oclif/core';
import { describe, expect, it } from 'vitest';
import { DamsonError } from '../core/errors.js';
import { explainError } from './errors.js';

const explain = (error: unknown) => explainError(error, { verbose: false, commands: ['state', 'expand add', 'expand run'] });
const parserError = (message: string) => new Errors.CLIError(message, { exit: 2 });

describe('explainError', () => {
  it.each([
    [
      'The following error occurred:\n  Missing required flag input\nSee more help with --help',
      'Error: Missing required flag input',
    ],
    [
      'Missing 1 required arg:\ncontent  content id of the segment\nSee more help with --help',
      'Error: missing argument: content',
    ],
    [
      'Parsing --primaries \n\tExpected an integer greater than or equal to 1 but received: 0\nSee more help with --help',
      'Error: --primaries: Expected an integer greater than or equal to 1 but received: 0',
    ],
    ['Nonexistent flag: --nosuch\nSee more help with --help', 'Error: Nonexistent flag: --nosuch'],
    ['command stat not found', 'Error: there is no command "stat"'],
  ])('makes one line and a hint of what the parser of arguments says: %s', (message, expected) => {
    const { text, exit } = explain(parserError(message));
    const lines = text.split('\n');
    expect(lines[0]).toBe(expected);
    expect(lines[1]).toMatch(/^Hint: /);
    expect(lines).toHaveLength(2);
    expect(exit).toBe(2);
  });

  it('names the command that was meant', () => {
    expect(explain(parserError('command expand:ad not found')).text).toContain('did you mean damson expand add?');
    expect(explain(parserError('command xyzzy not found')).text).not.toContain('did you mean');
  });

  it('keeps an exit code, and has 130 for an interrupt', () => {
    expect(explain(new DamsonError('nothing to do', { exitCode: 1 })).exit).toBe(1);
    expect(explain(Object.assign(new Error('closed'), { name: 'ExitPromptError' })).exit).toBe(130);
  });
});
