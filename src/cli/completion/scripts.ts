import { COMPLETE } from "./complete.ts";

const PROGRAM = "kubectl-vireo";

/** Words are taken from the line itself: bash breaks COMP_WORDS at "=" and ":". */
const bash = `# completion of ${PROGRAM} for bash; put it where your shell reads it, or: source <(${PROGRAM} completion bash)
_kubectl_vireo() {
  local line=\${COMP_LINE:0:COMP_POINT} words typed prefix answer directive candidate
  read -ra words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=("")
  typed=\${words[\${#words[@]}-1]}
  prefix=\${typed%"\${typed##*[=:]}"}
  COMPREPLY=()
  while IFS= read -r answer; do
    if [[ $answer == :[0-9]* ]]; then directive=$answer; continue; fi
    candidate=\${answer%%$'\\t'*}
    COMPREPLY+=("\${candidate#"$prefix"}")
  done < <(${PROGRAM} ${COMPLETE} "\${words[@]:1}" 2>/dev/null)
  if [[ $directive == :0 ]]; then
    compopt -o filenames 2>/dev/null
    while IFS= read -r candidate; do COMPREPLY+=("$candidate"); done < <(compgen -f -- "\${typed#"$prefix"}")
  fi
}
complete -F _kubectl_vireo ${PROGRAM}
`;

const zsh = `#compdef ${PROGRAM}
# completion of ${PROGRAM} for zsh; put it into a directory of your fpath as _${PROGRAM}, or: source <(${PROGRAM} completion zsh)
_kubectl_vireo() {
  local -a answers candidates
  local answer directive
  answers=("\${(@f)$(${PROGRAM} ${COMPLETE} "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  for answer in $answers; do
    if [[ $answer == :[0-9]* ]]; then directive=$answer; continue; fi
    answer=\${answer//:/\\\\:}
    candidates+=("\${answer/$'\\t'/:}")
  done
  if (( \${#candidates} )); then _describe '${PROGRAM}' candidates; fi
  if [[ $directive == :0 ]]; then _files; fi
}
compdef _kubectl_vireo ${PROGRAM}
`;

const fish = `# completion of ${PROGRAM} for fish; put it into ~/.config/fish/completions/${PROGRAM}.fish
function __kubectl_vireo_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    for answer in (${PROGRAM} ${COMPLETE} $words[2..-1] "$typed" 2>/dev/null)
        if test "$answer" = ":0"
            __fish_complete_path "$typed"
        else if not string match -qr '^:[0-9]' -- $answer
            echo $answer
        end
    end
end
complete -c ${PROGRAM} -f -a '(__kubectl_vireo_complete)'
`;

/** kubectl asks a program of this name for what may follow "kubectl vireo". */
const kubectl = `#!/bin/sh
# completion of "kubectl vireo": an executable file in your PATH by the name of kubectl_complete-vireo
exec ${PROGRAM} ${COMPLETE} "$@"
`;

export const completionScripts = { bash, zsh, fish, kubectl } as const;
export type Shell = keyof typeof completionScripts;
export const shells = ["bash", "zsh", "fish", "kubectl"] as const satisfies readonly Shell[];
