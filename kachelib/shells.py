"""Shells: the scripts by which bash, zsh, fish, elvish and PowerShell complete a program's words.

Owns the five languages. What there is to complete is given; of kache it knows
its name and that ``kache completions --crates`` prints names of crates.
"""

from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

# What a word may be, where no choices say it.
WORD = "word"
FILE = "file"
DIRECTORY = "directory"
CRATE = "crate"


class Argument(NamedTuple):
    """A word that is no option, or an option's value. many: any number of them."""

    name: str
    kind: str
    choices: Tuple[str, ...]
    many: bool


class Option(NamedTuple):
    """An option: how it may be spelled, what it does, and its value."""

    names: Tuple[str, ...]
    help: str
    value: Optional[Argument]


class Command(NamedTuple):
    """A command with what may follow it."""

    name: str
    summary: str
    options: Tuple[Option, ...]
    arguments: Tuple[Argument, ...]


def bash(commands: List[Command]) -> str:
    """The script for bash, which needs no bash-completion and is good for the bash 3.2 of macOS."""
    names = " ".join(command.name for command in commands)
    return _BASH.replace("@NAMES@", names).replace("@CASES@", "".join(_bash_case(command) for command in commands))


def _bash_case(command: Command) -> str:
    lines = [f"        {command.name})"]
    valued = [(option, option.value) for option in command.options if option.value]
    flags = " ".join(name for option in command.options for name in option.names)
    lines.append(f"            options='{flags}'")
    lines.append(f"            valued='{' '.join(name for option, _ in valued for name in option.names)}'")
    if valued:
        lines.append('            case "$previous" in')
        for option, value in valued:
            lines.append(f"                {'|'.join(option.names)}) {_bash_words(value)}; return ;;")
        lines.append("            esac")
    lines.append("            _kache_count")
    if command.arguments:
        lines.append('            [[ $current != -* ]] && case "$count" in')
        for number, argument in enumerate(command.arguments):
            lines.append(f"                {'*' if argument.many else number}) {_bash_words(argument)}; return ;;")
        lines.append("            esac")
    return "\n".join([*lines, "            ;;", ""])


def _bash_words(argument: Argument) -> str:
    if argument.choices:
        return f"_kache_words '{' '.join(argument.choices)}'"
    return {
        FILE: "_kache_paths -f",
        DIRECTORY: "_kache_paths -d",
        CRATE: '_kache_words "$("${COMP_WORDS[0]}" completions --crates 2>/dev/null)"',
    }.get(argument.kind, ":")


_BASH = """\
# bash completion for kache; made by `kache completions bash`
_kache_words() {
    local IFS=$' \\t\\n'
    COMPREPLY=($(compgen -W "$1" -- "$current"))
}

_kache_paths() {
    local IFS=$'\\n'
    compopt -o filenames 2>/dev/null
    COMPREPLY=($(compgen "$1" -- "$current"))
}

# How many words stand between the command and this one, without options and their values.
_kache_count() {
    local at word skip=
    count=0
    for ((at = 2; at < COMP_CWORD; at++)); do
        word=${COMP_WORDS[at]}
        if [[ $word == = ]]; then
            skip=1
        elif [[ $skip ]]; then
            skip=
        elif [[ $word == -* ]]; then
            [[ " $valued " == *" $word "* && ${COMP_WORDS[at + 1]} != = ]] && skip=1
        else
            count=$((count + 1))
        fi
    done
}

_kache() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} count=0 options= valued=
    COMPREPLY=()
    # bash takes --sort=size for three words
    if [[ $current == = ]]; then
        current=
    elif [[ $previous == = ]]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    if ((COMP_CWORD == 1)); then
        _kache_words '@NAMES@ --help --version'
        return
    fi
    case "${COMP_WORDS[1]}" in
@CASES@        *)
            # a call of a compiler
            _kache_paths -f
            return
            ;;
    esac
    [[ $current == -* ]] && _kache_words "$options"
}

complete -F _kache kache
"""


def zsh(commands: List[Command]) -> str:
    """The script for zsh: for a directory of ``fpath`` under the name _kache, or for ``source``."""
    summaries = "".join(
        f"        {_zsh_quoted(command.name + ':' + _zsh_escaped(command.summary, ':'))}\n" for command in commands
    )
    cases = "".join(_zsh_case(command) for command in commands)
    return _ZSH.replace("@COMMANDS@", summaries).replace("@CASES@", cases)


def _zsh_case(command: Command) -> str:
    specs = [spec for option in command.options for spec in _zsh_option(option)]
    for argument in command.arguments:
        place = "*" if argument.many else ""
        specs.append(f"{place}::{_zsh_escaped(argument.name.lower(), ':')}:{_zsh_action(argument)}")
    lines = [f"                {command.name})", "                    _arguments -s \\"]
    lines += [f"                        {_zsh_quoted(spec)} \\" for spec in specs]
    return "\n".join([*lines, "                        && return 0", "                    ;;", ""])


def _zsh_option(option: Option) -> List[str]:
    text = _zsh_escaped(option.help, "[]:")
    value = option.value
    tail = f":{_zsh_escaped(value.name.lower(), ':')}:{_zsh_action(value)}" if value else ""
    found = []
    for name in option.names:
        others = "(" + " ".join(option.names) + ")"
        sign = ("=" if name.startswith("--") else "+") if value else ""
        found.append(f"{others}{name}{sign}[{text}]{tail}")
    return found


def _zsh_action(argument: Argument) -> str:
    if argument.choices:
        return "(" + " ".join(argument.choices) + ")"
    return {FILE: "_files", DIRECTORY: "_files -/", CRATE: "_kache_crates"}.get(argument.kind, " ")


def _zsh_escaped(text: str, special: str) -> str:
    return "".join("\\" + letter if letter in special + "\\" else letter for letter in text)


def _zsh_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


_ZSH = """\
#compdef kache
# zsh completion for kache; made by `kache completions zsh`
_kache_crates() {
    local -a crates
    crates=(${(f)"$(command ${kache_program:-kache} completions --crates 2>/dev/null)"})
    compadd -a crates
}

_kache() {
    local context curcontext="$curcontext" state line kache_program=$words[1]
    typeset -A opt_args
    local -a commands
    commands=(
@COMMANDS@    )
    _arguments -C \\
        '(- *)'{-h,--help}'[what there is]' \\
        '(- *)'{-V,--version}'[the version]' \\
        '1: :->command' \\
        '*:: :->arguments'
    case $state in
        command)
            _describe -t commands command commands
            ;;
        arguments)
            case $words[1] in
@CASES@                *)
                    # a call of a compiler
                    _files
                    ;;
            esac
            ;;
    esac
}

if [ "$funcstack[1]" = _kache ]; then
    _kache "$@"
else
    compdef _kache kache
fi
"""


def fish(commands: List[Command]) -> str:
    """The script for fish."""
    lines = []
    for command in commands:
        lines.append(f"complete -c kache -n __kache_no_command -a {command.name} -d {_fish_quoted(command.summary)}")
    for command in commands:
        start = f"complete -c kache -n '__kache_command {command.name}'"
        for option in command.options:
            names = "".join(f" -l {name[2:]}" if name.startswith("--") else f" -s {name[1:]}" for name in option.names)
            value = f" {_fish_words(option.value, ' -r')}" if option.value else ""
            lines.append(f"{start}{names}{value} -d {_fish_quoted(option.help)}")
        lines += [f"{start} {words}" for argument in command.arguments if (words := _fish_words(argument, ""))]
    return _FISH + "\n".join(lines) + "\n"


def _fish_words(argument: Argument, required: str) -> str:
    exclusive = " -x" if required else ""
    if argument.choices:
        return f"{exclusive.strip()} -a {_fish_quoted(' '.join(argument.choices))}".strip()
    return {
        FILE: f"{required.strip()} -F".strip(),
        DIRECTORY: f"{exclusive.strip()} -a '(__fish_complete_directories)'".strip(),
        CRATE: f"{exclusive.strip()} -a '(kache completions --crates 2>/dev/null)'".strip(),
    }.get(argument.kind, exclusive.strip())


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_FISH = """\
# fish completion for kache; made by `kache completions fish`
function __kache_no_command
    test (count (commandline -opc)) -eq 1
end

function __kache_command
    set -l words (commandline -opc)
    test (count $words) -gt 1; and test $words[2] = $argv[1]
end

complete -c kache -f
complete -c kache -n __kache_no_command -s h -l help -d 'what there is'
complete -c kache -n __kache_no_command -s V -l version -d 'the version'
"""


def elvish(commands: List[Command]) -> str:
    """The script for elvish."""
    top = "".join(f"    cand {command.name} {_elvish_quoted(command.summary)}\n" for command in commands)
    cases = "".join(_elvish_case(command) for command in commands)
    return _ELVISH.replace("@COMMANDS@", top).replace("@CASES@", cases)


def _elvish_case(command: Command) -> str:
    lines = [f"  &{command.name}=[&options={{"]
    for option in command.options:
        lines += [f"      cand {name} {_elvish_quoted(option.help)}" for name in option.names]
    lines.append("    } &values=[" if any(option.value for option in command.options) else "    } &values=[&")
    for option in command.options:
        if option.value:
            lines += [f"      &{name}={{|word| {_elvish_words(option.value)} }}" for name in option.names]
    lines.append("    ] &arguments={|word|")
    lines += [f"      {_elvish_words(argument)}" for argument in command.arguments]
    return "\n".join([*lines, "    }]", ""])


def _elvish_words(argument: Argument) -> str:
    if argument.choices:
        return "put " + " ".join(_elvish_quoted(choice) for choice in argument.choices)
    paths = "edit:complete-filename $word"
    return {FILE: paths, DIRECTORY: paths, CRATE: "crates"}.get(argument.kind, "nop")


def _elvish_quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_ELVISH = """\
# elvish completion for kache; made by `kache completions elvish`
fn cand {|word about| edit:complex-candidate $word &display=$word' '$about }

fn crates { try { e:kache completions --crates 2>/dev/null | from-lines } catch error { nop } }

var commands = [
@CASES@]

set edit:completion:arg-completer[kache] = {|@words|
  if (<= (count $words) 2) {
@COMMANDS@    cand --help 'what there is'
    cand --version 'the version'
  } elif (has-key $commands $words[1]) {
    var command = $commands[$words[1]]
    var word = $words[-1]
    if (has-key $command[values] $words[-2]) {
      $command[values][$words[-2]] $word
    } else {
      $command[options]
      $command[arguments] $word
    }
  } else {
    edit:complete-filename $words[-1]
  }
}
"""


def powershell(commands: List[Command]) -> str:
    """The script for PowerShell."""
    pairs = [(_powershell_quoted(command.name), _powershell_quoted(command.summary)) for command in commands]
    top = "".join(f"        @({name}, {summary})\n" for name, summary in pairs)
    cases = "".join(_powershell_case(command) for command in commands)
    return _POWERSHELL.replace("@COMMANDS@", top).replace("@CASES@", cases)


def _powershell_case(command: Command) -> str:
    lines = [f"        {_powershell_quoted(command.name)} = @{{", "            options = @("]
    for option in command.options:
        text = _powershell_quoted(option.help)
        lines += [f"                @({_powershell_quoted(name)}, {text})" for name in option.names]
    lines += ["            )", "            values = @{"]
    for option in command.options:
        if option.value:
            words = _powershell_words(option.value)
            lines += [f"                {_powershell_quoted(name)} = {{ {words} }}" for name in option.names]
    lines += ["            }", "            arguments = {"]
    lines += [f"                {_powershell_words(argument)}" for argument in command.arguments]
    return "\n".join([*lines, "            }", "        }", ""])


def _powershell_words(argument: Argument) -> str:
    if argument.choices:
        return ", ".join(_powershell_quoted(choice) for choice in argument.choices)
    # Where nothing is offered, PowerShell completes file names by itself.
    return "kache completions --crates 2>$null" if argument.kind == CRATE else ""


def _powershell_quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_POWERSHELL = """\
# PowerShell completion for kache; made by `kache completions powershell`
Register-ArgumentCompleter -Native -CommandName kache -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $summaries = @(
@COMMANDS@        @('--help', 'what there is')
        @('--version', 'the version')
    )
    $commands = @{
@CASES@    }
    $words = @($commandAst.CommandElements | Where-Object { $_.Extent.EndOffset -lt $cursorPosition } |
        ForEach-Object { $_.ToString() })
    $found = @()
    if ($words.Count -le 1) {
        $found = $summaries
    } elseif ($commands.ContainsKey($words[1])) {
        $command = $commands[$words[1]]
        if ($command.values.ContainsKey($words[-1])) {
            $found = @(& $command.values[$words[-1]] | ForEach-Object { , @($_, $_) })
        } else {
            $found = $command.options + @(& $command.arguments | ForEach-Object { , @($_, $_) })
        }
    }
    $found | Where-Object { $_[0] -like "$wordToComplete*" } | ForEach-Object {
        $about = if ($_[1]) { $_[1] } else { $_[0] }
        [System.Management.Automation.CompletionResult]::new($_[0], $_[0], 'ParameterValue', $about)
    }
}
"""


# By the name that ``kache completions`` takes.
SCRIPTS: Dict[str, Callable[[List[Command]], str]] = {
    "bash": bash,
    "zsh": zsh,
    "fish": fish,
    "elvish": elvish,
    "powershell": powershell,
}
