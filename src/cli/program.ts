import yargs from 'yargs';
import { VERSION } from '../version.ts';
import { Flags, type Command, type ExitCode } from './command.ts';
import { can } from './commands/can.ts';
import { completion } from './commands/completion.ts';
import { connectionsCommand } from './commands/connections.ts';
import { diffCommand } from './commands/diff.ts';
import { explainCommand } from './commands/explain.ts';
import { exposureCommand } from './commands/exposure.ts';
import { impactCommand } from './commands/impact.ts';
import { lintCommand } from './commands/lint.ts';
import { matrix } from './commands/matrix.ts';
import { render } from './commands/render.ts';
import { status } from './commands/status.ts';
import { InputError, UsageError } from './errors.ts';
import type { Terminal } from './terminal.ts';

/** Name of the program, as it is found by kubectl and called without it. */
export const PROGRAM = 'kubectl-baseline';

/** All commands, in the order of the help. */
export const COMMANDS: readonly Command[] = [
  can,
  explainCommand,
  connectionsCommand,
  matrix,
  exposureCommand,
  lintCommand,
  impactCommand,
  render,
  diffCommand,
  status,
  completion,
];

/** Lines of help are no wider. */
const WIDTH = 100;

/**
 * Runs a command line. Resolves with the exit code: 0 for clean, allowed or equal, 1 for findings, denied or different,
 * and 2 when the flags or the input are wrong, which then is told on stderr.
 * @param args what comes after the name of the program
 */
export async function run(args: readonly string[], terminal: Terminal): Promise<ExitCode | 2> {
  try {
    const chosen = await parse(args, terminal);
    return chosen === undefined ? 0 : await chosen.command.run(chosen.flags, terminal);
  } catch (error) {
    if (error instanceof UsageError) {
      const [name = ''] = args.filter((arg) => COMMANDS.some((command) => nameOf(command) === arg));
      const help = [PROGRAM, name, '--help'].filter((word) => word !== '').join(' ');
      terminal.stderr.write(`error: ${error.message}\nSee: ${help}\n`);
      return 2;
    }
    if (error instanceof InputError) {
      for (const problem of error.problems) terminal.stderr.write(`error: ${problem}\n`);
      return 2;
    }
    throw error;
  }
}

interface Chosen {
  readonly command: Command;
  readonly flags: Flags;
}

/** The command that is asked for; undefined when help, version or completions were, which then are written. */
async function parse(args: readonly string[], terminal: Terminal): Promise<Chosen | undefined> {
  const chosen: Chosen[] = [];
  const parser = yargs()
    .scriptName(PROGRAM)
    .usage('Says what NetworkPolicies really do, in files (-f) or in a live cluster.\n\nUsage: $0 <command> [flags]')
    .epilogue('Exit codes: 0 clean, allowed or equal; 1 findings, denied or different; 2 wrong flags or input.')
    .example('$0 explain shop/web shop/db --port 5432 -f manifests/', 'Why can web not reach db?')
    .example('$0 exposure -A', 'What is open in the cluster, and to whom?')
    .parserConfiguration({
      'boolean-negation': false,
      'camel-case-expansion': false,
      'dot-notation': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
    })
    .locale('en')
    .wrap(WIDTH)
    .help()
    .alias('help', 'h')
    .version(VERSION)
    .strict()
    .recommendCommands()
    .demandCommand(1, 'expected a command, got none')
    .exitProcess(false)
    .showHelpOnFail(false)
    .fail((message, error) => {
      // An error of yargs itself is about the command line too; any other comes from a command.
      const isUsage = !(error instanceof Error) || error.name === 'YError';
      throw isUsage ? new UsageError(usageMessage(message, args)) : error;
    });
  for (const command of COMMANDS) {
    parser.command(
      command.usage,
      command.about,
      (builder) => {
        const details = command.details === undefined ? '' : `\n\n${command.details}`;
        builder
          .usage(`${command.about}\n\nUsage: $0 ${command.usage} [flags]${details}`)
          // Groups of flags are listed in the order in which they are named first.
          .group(Object.keys(command.positionals ?? {}), 'Positionals:')
          .group('help', 'Options:')
          .options(command.options);
        for (const [name, description] of Object.entries(command.positionals ?? {})) {
          builder.positional(name, { type: 'string', description });
        }
        for (const [line, about] of command.examples) builder.example(`$0 ${line}`, about);
        return builder;
      },
      (given) => {
        chosen.push({ command, flags: new Flags(given) });
      },
    );
  }
  let output = '';
  await parser.parseAsync([...args], {}, (_error: unknown, _argv: unknown, text: string) => {
    output = text;
  });
  if (output !== '') terminal.stdout.write(`${output}\n`);
  return chosen[0];
}

function nameOf({ usage }: Command): string {
  return usage.split(' ')[0] ?? '';
}

/** What yargs says of a wrong command line, as our errors say it. */
function usageMessage(message: string, args: readonly string[]): string {
  const text = message.trim().replace(/\s*\n\s*/g, ' ');
  const [command = 'none'] = args.filter((arg) => !arg.startsWith('-'));
  const [, hint] = /^Did you mean (.+)$/.exec(text) ?? [];
  if (hint !== undefined) return `expected a command, got ${command}; did you mean ${hint}`;
  const [, unknown] = /^Unknown (?:arguments?|commands?): (.+)$/.exec(text) ?? [];
  if (unknown !== undefined) {
    const given = unknown
      .split(', ')
      .map((name) => args.find((arg) => arg.replace(/^-+/, '').split('=')[0] === name) ?? name);
    const isCommand = !COMMANDS.some((one) => args.includes(nameOf(one)));
    return `expected ${isCommand ? 'a command' : 'flags and arguments of this command'}, got ${given.join(', ')}`;
  }
  return text
    .replace(/^Not enough non-option arguments: got (\d+), need at least (\d+)$/, 'expected $2 arguments, got $1')
    .replace(/^Not enough arguments following: (.+)$/, (_, name: string) => {
      return `${name.length === 1 ? '-' : '--'}${name}: expected a value, got none`;
    })
    .replace(/^Invalid values: Argument: (\w[\w-]*), Given: (.+), Choices: (.+)$/, '--$1: expected $3, got $2');
}
