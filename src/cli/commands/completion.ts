import type { Command } from '../command.ts';

const SCRIPTS: Readonly<Record<string, string>> = {
  bash: `_kubectl_baseline() {
  local word
  COMPREPLY=()
  while IFS= read -r word; do
    COMPREPLY+=("$word")
  done < <(compgen -W "$(SHELL=/bin/bash kubectl-baseline --get-yargs-completions "\${COMP_WORDS[@]}")" -- "\${COMP_WORDS[COMP_CWORD]}")
}
complete -o bashdefault -o default -F _kubectl_baseline kubectl-baseline
`,
  zsh: `#compdef kubectl-baseline
_kubectl_baseline() {
  local reply
  local si=$IFS
  IFS=$'\\n' reply=($(COMP_CWORD="$((CURRENT-1))" COMP_LINE="$BUFFER" COMP_POINT="$CURSOR" SHELL=/bin/zsh kubectl-baseline --get-yargs-completions "\${words[@]}"))
  IFS=$si
  _describe 'values' reply || _files
}
compdef _kubectl_baseline kubectl-baseline
`,
};

/** Prints a script that completes commands and flags in a shell. */
export const completion: Command = {
  usage: 'completion <shell>',
  about: 'Print the script that completes commands and flags in bash or zsh',
  positionals: { shell: 'bash or zsh' },
  options: { shell: { choices: Object.keys(SCRIPTS) } },
  examples: [
    ['completion bash > /etc/bash_completion.d/kubectl-baseline', 'Complete in bash'],
    ['completion zsh > "${fpath[1]}/_kubectl-baseline"', 'Complete in zsh'],
  ],
  run: (flags, terminal) => {
    terminal.stdout.write(SCRIPTS[flags.required('shell')] ?? '');
    return Promise.resolve(0);
  },
};
