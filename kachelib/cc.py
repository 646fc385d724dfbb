"""A command line of GCC or of Clang's GNU-like driver: what it asks for.

Owns the parse into Plan, Refusal or NotACompile: sources and languages, the options with a meaning of their own, and
where the depfile goes. Looks at arguments only. The options that need no more than a name are cc_options.py's.

Source: GCC 12 manual ("Option Summary", "Preprocessor Options"), Clang 14's command line reference, and the specs that
``gcc -dumpspecs`` prints (cpp_unique_options: names and targets of depfiles).
"""

from kachelib import cc_options
from kachelib.outcome import NotACompile, Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Sequence, Tuple, Union

# Suffixes and what -x calls their languages (GCC manual, "Overall Options").
LANGUAGES = {
    "c": "c",
    "i": "cpp-output",
    "ii": "c++-cpp-output",
    "cc": "c++",
    "cp": "c++",
    "cxx": "c++",
    "cpp": "c++",
    "CPP": "c++",
    "c++": "c++",
    "C": "c++",
    "s": "assembler",
    "S": "assembler-with-cpp",
    "sx": "assembler-with-cpp",
}
KNOWN_LANGUAGES = frozenset(LANGUAGES.values())

# Not a compile: the compiler prints something and ends, or only preprocesses.
QUESTIONS = frozenset(("-E", "-M", "-MM", "-###", "--version", "--help", "-help", "--target-help", "-dumpversion"))
QUESTIONS_LIKE = ("-print-", "--print-", "-dump", "--help=")

# Options of the preprocessor whose value is joined or the next word: where headers are looked for.
SEARCH = {"-I": "include", "-iquote": "quote", "-isystem": "system", "-idirafter": "after"}
# The same, and the value is a directory that changes the list in another way.
DIRECTORIES = ("-isysroot", "--sysroot", "-resource-dir")

# What only the linker reads. With -c neither compiler looks at it.
LINK_WITH_VALUE = frozenset(("-L", "-l", "-T", "-z", "-u", "-Xlinker"))
LINK = frozenset(
    "-static -shared -s -rdynamic -nostdlib -nodefaultlibs -nostartfiles -no-pie -nopie -pie -static-pie "
    "-static-libgcc -static-libstdc++ -shared-libgcc -symbolic".split()
)

OPTIMISATION = frozenset(("-O", "-O0", "-O1", "-O2", "-O3", "-O4", "-Os", "-Oz", "-Og", "-Ofast"))
COLOUR_ON = ("-fdiagnostics-color=always", "-fdiagnostics-color", "-fcolor-diagnostics")
COLOUR_OFF = ("-fdiagnostics-color=never", "-fno-diagnostics-color", "-fno-color-diagnostics")
COLOUR_AUTO = "-fdiagnostics-color=auto"

# The two that are known only as a pair with the word behind them.
PAIRS = frozenset(("-Xclang", "-mllvm", "-Xpreprocessor", "-Xassembler"))

# These record places in the sources beside what debug information is, down to the column.
RECORDS_PLACES = ("-fsanitize", "-fopenmp", "-flto", "-fembed-bitcode")
# What these write cannot be searched for a path.
OPAQUE = ("-flto", "-fembed-bitcode", "-gz")
# With these a comment may change what is warned of (-Wimplicit-fallthrough is one of -Wextra).
READS_COMMENTS = ("-W", "-Wextra", "-Weverything", "-Wdocumentation", "-Wdocumentation-pedantic")
# With these a compile fails for what other compiles only tell.
STRICT = ("-Werror", "-pedantic-errors", "--pedantic-errors")

DIALECT = "gnu"

KEY = "flag"
PREPROCESSOR = "preprocessor"


class Plan:
    """A compile that may be cached, as its arguments ask for it. Paths are as given.

    dialect: DIALECT, or clang_cl's. language: as -x names it. words: (KEY or PREPROCESSOR, option) of all that counts,
    in order; search: (kind, directory), kinds are SEARCH's; directories: the other options of DIRECTORIES, (option,
    directory); forced: files of -include and -imacros. depfile: "" where none is asked for; system_headers: it names
    them too (-MD, not -MMD); targets: of the depfile's rule, (given by -MQ, as it stands there), none for the usual
    one; phony: -MP; from_cpp: it was asked for by -Wp,-MD. places: the object holds places in the sources; opaque: it
    cannot be searched; native: it is for the processor of this machine. comments: warnings may hang on comments.
    colour: of diagnostics, "on", "off" or "" as the terminal is. user_allowed: words that cc.extra_allowlist_flags let
    in.
    """

    __slots__ = (
        "arguments",
        "colour",
        "comments",
        "depfile",
        "dialect",
        "directories",
        "forced",
        "from_cpp",
        "language",
        "native",
        "opaque",
        "output",
        "phony",
        "places",
        "search",
        "source",
        "system_headers",
        "targets",
        "user_allowed",
        "words",
    )

    def __init__(self, arguments: "List[str]") -> None:
        self.arguments = arguments
        self.words: "List[Tuple[str, str]]" = []
        self.search: "List[Tuple[str, str]]" = []
        self.directories: "List[Tuple[str, str]]" = []
        self.forced: "List[str]" = []
        self.targets: "List[Tuple[bool, str]]" = []
        self.user_allowed: "List[str]" = []
        self.dialect = DIALECT
        self.language = ""
        self.source = ""
        self.output = ""
        self.depfile = ""
        self.colour = ""
        self.system_headers = False
        self.phony = False
        self.from_cpp = False
        self.places = False
        self.opaque = False
        self.native = False
        self.comments = False

    @property
    def crate_name(self) -> str:
        """What stands for a crate's name in lists, events and the remote: ``cc-`` and the source's stem."""
        name = self.source.rpartition("/")[2]
        name = name.rpartition(".")[0] or name
        allowed = [char if char.isascii() and (char.isalnum() or char in "._-+") else "_" for char in name]
        return "cc-" + "".join(allowed)


class _Reader:
    """The words of a command line, and what was found so far."""

    __slots__ = ("allowed", "archs", "at", "compile", "dependencies", "given_depfile", "plan", "refusal", "sources",
                 "unknown", "words")  # fmt: skip

    def __init__(self, words: "List[str]", allowed: "Sequence[str]") -> None:
        self.words = words
        self.at = 0
        self.plan = Plan(words)
        self.allowed = allowed
        # (path, language that -x gave)
        self.sources: "List[Tuple[str, str]]" = []
        self.unknown: "List[str]" = []
        self.archs: "List[str]" = []
        self.compile = False
        self.dependencies = ""
        self.given_depfile = ""
        self.refusal: "Optional[Refusal]" = None

    def value(self, word: str, option: str) -> str:
        """The value of ``option``, joined to it in ``word`` or the next word; "" where there is none."""
        if len(word) > len(option):
            return word[len(option) :]
        self.at += 1
        if self.at > len(self.words):
            # The compiler says what is wrong with that.
            self.refuse("malformed", option)
            return ""
        return self.words[self.at - 1]

    def keep(self, kind: str, *words: str) -> None:
        for word in words:
            self.plan.words.append((kind, word))

    def refuse(self, reason: str, detail: str = "") -> None:
        if self.refusal is None:
            self.refusal = Refusal(reason, detail)


def parse(arguments: "List[str]", allowed: "Sequence[str]" = ()) -> "Union[Plan, Refusal, NotACompile]":
    """Understand what follows the compiler's name. allowed: cc.extra_allowlist_flags."""
    reader = _Reader(arguments, allowed)
    language = ""
    while reader.at < len(arguments):
        word = arguments[reader.at]
        reader.at += 1
        if word[:1] != "-" or word == "-":
            reader.sources.append((word, language))
        elif word in QUESTIONS or word.startswith(QUESTIONS_LIKE):
            return NotACompile()
        elif word[:2] == "-x":
            language = reader.value(word, "-x")
        else:
            _note(reader, word)
    return _judge(reader)


def _note(reader: _Reader, word: str) -> None:
    """Put one option where it belongs."""
    letter = word[1]
    if letter in "ol" and len(word) > 3 and refused_for(word):
        # Clang's -objcmt-… begins like -o.
        _note_name(reader, word)
    elif letter in "DUAIoc" and (letter != "c" or len(word) == 2):
        _note_letter(reader, word, word[:2])
    elif letter == "M":
        _note_dependencies(reader, word)
    elif letter == "W" and not word.startswith(("-Wa,", "-Wp,")):
        reader.plan.comments = reader.plan.comments or word in READS_COMMENTS or "fallthrough" in word
        reader.keep(KEY, word)
    elif letter == "O" and not word.startswith("-Obj"):
        if word in OPTIMISATION:
            reader.keep(KEY, word)
        else:
            _note_unknown(reader, word)
    elif letter == "i" or word.startswith(DIRECTORIES):
        _note_directory(reader, word)
    elif word.startswith("-Wp,"):
        _note_for_preprocessor(reader, word)
    elif word in PAIRS:
        _note_pair(reader, word)
    elif word in LINK or word.startswith("-Wl,"):
        reader.keep(KEY, word)
    elif word[:2] in LINK_WITH_VALUE or word == "-Xlinker":
        option = word if word == "-Xlinker" else word[:2]
        reader.keep(KEY, option, reader.value(word, option))
    else:
        _note_name(reader, word)


def _note_letter(reader: _Reader, word: str, option: str) -> None:
    if option == "-c":
        reader.compile = True
    elif word == "-I-":
        reader.refuse("search_path", word)
    elif option == "-I":
        reader.plan.search.append(("include", reader.value(word, option)))
    elif option == "-o":
        if reader.plan.output:
            # Of two the last one counts, but not for what kache adds.
            reader.refuse("malformed", word)
        reader.plan.output = reader.value(word, option)
    else:
        reader.keep(PREPROCESSOR, option + reader.value(word, option))


def _note_dependencies(reader: _Reader, word: str) -> None:
    plan = reader.plan
    if word in ("-MD", "-MMD"):
        if plan.from_cpp:
            # Both are made.
            reader.refuse("malformed", word)
        if reader.dependencies not in ("", word):
            # Of both, the one that names less is made, and Clang says of the other that it is not used.
            reader.keep(KEY, word)
        reader.dependencies = "-MMD" if reader.dependencies == "-MMD" else word
    elif word == "-MP":
        plan.phony = True
    elif word[:3] == "-MF":
        reader.given_depfile = reader.value(word, "-MF")
    elif word[:3] == "-MT":
        plan.targets.append((False, reader.value(word, "-MT")))
    elif word[:3] == "-MQ":
        plan.targets.append((True, quote(reader.value(word, "-MQ"))))
    else:
        _note_name(reader, word)


def _note_directory(reader: _Reader, word: str) -> None:
    """-isystem and its like; -include; --sysroot."""
    if word in ("-include", "-imacros"):
        path = reader.value(word, word)
        reader.plan.forced.append(path)
        reader.keep(PREPROCESSOR, word, path)
        return
    if refused_for(word):
        _note_name(reader, word)
        return
    for option, kind in SEARCH.items():
        if option != "-I" and word.startswith(option):
            reader.plan.search.append((kind, reader.value(word, option)))
            return
    for option in DIRECTORIES:
        if word.startswith(option):
            value = reader.value(word, option)
            reader.plan.directories.append((option, value[1:] if value[:1] == "=" and word != option else value))
            return
    _note_name(reader, word)


def _note_for_preprocessor(reader: _Reader, word: str) -> None:
    """-Wp,-MD,FILE as the kernel's makefiles have it, and -Wp,-DNAME as distributions do; no more."""
    parts = word.split(",")[1:]
    if len(parts) == 2 and parts[0] in ("-MD", "-MMD"):
        if reader.dependencies:
            reader.refuse("malformed", word)
        reader.dependencies = parts[0]
        reader.given_depfile = parts[1]
        reader.plan.from_cpp = True
    elif len(parts) == 1 and parts[0][:2] in ("-D", "-U") and len(parts[0]) > 2:
        reader.keep(PREPROCESSOR, word)
    else:
        _note_unknown(reader, word)


def _note_pair(reader: _Reader, word: str) -> None:
    value = reader.value(word, word)
    if word in reader.allowed and value in reader.allowed:
        reader.plan.user_allowed += (word, value)
        reader.keep(KEY, word, value)
    else:
        reader.unknown.append(word + " " + value)


def _note_name(reader: _Reader, word: str) -> None:
    """An option that its name says all of: in the key, refused, or not known."""
    plan = reader.plan
    if word == "-arch":
        reader.archs.append(reader.value(word, word))
        reader.keep(KEY, word, reader.archs[-1])
    elif word in COLOUR_ON or word in COLOUR_OFF or word == COLOUR_AUTO:
        plan.colour = "on" if word in COLOUR_ON else "off" if word in COLOUR_OFF else ""
    elif word in ("-target", "--param"):
        reader.keep(KEY, word, reader.value(word, word))
    elif is_keyed(word):
        # most options by far, and none of these is refused
        reader.keep(KEY, word)
        if " " + word + " " in cc_options.SEPARATE:
            reader.keep(KEY, reader.value(word, word))
        note_nature(plan, word)
    elif refused_for(word) and not (word.startswith("-Wa,") and word in reader.allowed):
        reader.refuse(refused_for(word), word)
    else:
        _note_unknown(reader, word)


def note_nature(plan: Plan, word: str) -> None:
    """Note what an option makes of the object, besides being in the key."""
    if word.startswith("-g"):
        plan.places = word != "-g0" and (plan.places or not word.startswith(("-gno-", "-gz")))
    if word.startswith(RECORDS_PLACES):
        plan.places = True
    if word.startswith(OPAQUE) and word != "-gz=none":
        plan.opaque = True
    # native+crypto: the machine's, and more
    if word.startswith(("-march=native", "-mtune=native", "-mcpu=native")):
        plan.native = True


def _note_unknown(reader: _Reader, word: str) -> None:
    if word in reader.allowed:
        reader.plan.user_allowed.append(word)
        reader.keep(KEY, word)
    else:
        reader.unknown.append(word)


def name_of(word: str) -> "Tuple[str, bool]":
    """The name an option stands under in the tables, and whether it was negated (``-fno-``)."""
    head, equals, _ = word.partition("=")
    negative = head[1:5] in ("fno-", "mno-", "gno-")
    if negative:
        head = head[:2] + head[5:]
    if head[:2] == "-g":
        head = head.rstrip("0123456789")
    return head + equals, negative


def is_keyed(word: str) -> bool:
    """Whether an option goes into the key as it stands."""
    name, negative = name_of(word)
    question = " " + name + " "
    if word != name and _refused(word):
        # This one value of it.
        return False
    if question in cc_options.KEYED or name in ("--param=", "--target="):
        return True
    if name.startswith(cc_options.PREFIXES) and not _refused(name):
        return True
    return question in cc_options.ASSEMBLER or (negative and bool(_refused(name)))


def refused_for(word: str) -> str:
    """Why an option cannot be cached, a name of outcome.REFUSALS; "" where the table does not refuse it."""
    name, negative = name_of(word)
    return "" if negative else _refused(word) or _refused(name)


def _refused(name: str) -> str:
    question = " " + name + " "
    for reason, names in cc_options.REFUSED:
        if question in names:
            return reason
    if question in cc_options.ASSEMBLER or question in cc_options.KEYED:
        return ""
    for reason, prefix in cc_options.REFUSED_PREFIXES:
        if name.startswith(prefix):
            return reason
    return ""


def _judge(reader: _Reader) -> "Union[Plan, Refusal, NotACompile]":
    """Whether the options, taken together, are a compile that is modelled."""
    plan = reader.plan
    if not reader.sources:
        return NotACompile()
    plan.source, given = reader.sources[0]
    refusal = _refusal(reader, given)
    if refusal is not None:
        refusal.plan = plan
        return refusal
    plan.output = plan.output or plan.source.rpartition("/")[2].rpartition(".")[0] + ".o"
    plan.system_headers = reader.dependencies == "-MD"
    if reader.dependencies:
        plan.depfile = reader.given_depfile or _with_suffix(plan.output, ".d")
    return plan


def _refusal(reader: _Reader, given: str) -> "Optional[Refusal]":
    plan = reader.plan
    if any(path.startswith("@") for path, _ in reader.sources):
        return Refusal("argument_file", plan.source)
    if not reader.compile:
        return reader.refusal if reader.refusal and reader.refusal.reason == "no_object" else Refusal("link")
    if len(reader.sources) > 1:
        return Refusal("several_sources", " ".join([path for path, _ in reader.sources[:3]]))
    if plan.source == "-":
        return Refusal("stdin")
    if reader.refusal is not None:
        return reader.refusal
    if reader.unknown:
        return Refusal("unsupported_flag", " ".join(reader.unknown))
    if len(set(reader.archs)) > 1:
        return Refusal("several_archs", " ".join(reader.archs))
    plan.language = given if given not in ("", "none") else LANGUAGES.get(plan.source.rpartition(".")[2], "")
    if plan.language not in KNOWN_LANGUAGES:
        return Refusal("language", given or plan.source.rpartition("/")[2])
    if plan.output == "-":
        return Refusal("output_file", "-")
    if not reader.dependencies and (plan.targets or plan.phony or reader.given_depfile):
        # The compiler says what is wrong with that.
        return Refusal("no_depfile")
    return None


def _with_suffix(path: str, suffix: str) -> str:
    directory, slash, name = path.rpartition("/")
    return directory + slash + (name.rpartition(".")[0] or name) + suffix


def quote(text: str) -> str:
    """A name as make reads it: blanks, ``#`` and ``$`` quoted (GCC's mkdeps.cc, munge)."""
    if not any(char in text for char in " \t#$"):
        return text
    out = []
    backslashes = 0
    for char in text:
        if char in " \t":
            # make halves the backslashes before a blank
            out.append("\\" * (backslashes + 1))
        elif char == "#":
            out.append("\\")
        elif char == "$":
            out.append("$")
        backslashes = backslashes + 1 if char == "\\" else 0
        out.append(char)
    return "".join(out)


def describe(plan: Plan) -> "Dict[str, int]":
    """How many options are of which kind, for the log."""
    counts = {"flags": 0, "preprocessor": len(plan.search), "user-allowed": len(plan.user_allowed)}
    for kind, _ in plan.words:
        counts["flags" if kind == KEY else "preprocessor"] += 1
    return counts
