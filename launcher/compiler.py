"""Source text to the code that dist/kache carries.

Owns what is left out of the code, the order of the hot modules and the layout of a blob. Runs in two places: in
a bare interpreter for each version that the builder knows (main), and inside dist/kache on an interpreter that
it did not know (whole). Knows nothing of files but the archive it is given.

    region = blob cold
    blob   = marshal (code of boot.py, modules, doors, cold, natives, build); boot.py says what these are
    cold   = the marshalled code of the cold modules, at the offsets the blob names; zlib-compressed but for a miss's
"""

import ast
import marshal
import sys
import zlib
from types import CodeType
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, NamedTuple, Set, Tuple

if TYPE_CHECKING:
    from zipimport import zipimporter


class Source(NamedTuple):
    """A module as text; ``file`` is its path in the archive."""

    text: bytes
    file: str
    package: bool


Sources = Dict[str, Source]

# What is loaded at every start, and the stories of one compile, of which a call needs one at most.
ROOT = "kache"
DOORS = ("wrapper", "cc_wrapper")

# What a compile that has to run loads: left as it is, for zlib would cost each of them a tenth of a millisecond.
MISS = frozenset(
    "kachelib." + name
    for name in (
        *("archive", "collect", "compile", "evict", "heartbeat", "link", "taker"),
        *("cc_collect", "cc_compile", "include_scan", "include_search", "preprocessed", "search_path"),
    )
)


class Trim(ast.NodeTransformer):
    """Take out what nothing reads at run time: annotations and what stands under TYPE_CHECKING."""

    def visit_If(self, node: ast.If) -> ast.AST:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" and not node.orelse:
            return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(ast.copy_location(ast.Assign([node.target], node.value), node))


class TrimCold(Trim):
    """The same, without what a class may read of itself."""

    def visit_If(self, node: ast.If) -> ast.AST:
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        return self.generic_visit(node)


def hot_code(text: bytes, file: str) -> CodeType:
    """Code without docstrings, assertions and annotations."""
    tree = Trim().visit(ast.parse(text, file))
    code: CodeType = compile(ast.fix_missing_locations(tree), file, "exec", dont_inherit=True, optimize=2)
    return code


def cold_code(text: bytes, file: str) -> CodeType:
    """The same, but for the annotations of fields, which NamedTuple and dataclasses read."""
    tree = TrimCold().visit(ast.parse(text, file))
    code: CodeType = compile(ast.fix_missing_locations(tree), file, "exec", dont_inherit=True, optimize=2)
    return code


def foreign_code(text: bytes, file: str) -> CodeType:
    """Code of a library as Python compiles it: some read their own docstrings, and rely on assertions."""
    code: CodeType = compile(text, file, "exec", dont_inherit=True, optimize=0)
    return code


def imports(name: str, text: bytes, known: Iterable[str]) -> List[str]:
    """Those of the ``known`` modules that ``text`` imports when it is itself imported, parents first."""
    found: List[str] = []
    todo: List[ast.stmt] = list(Trim().visit(ast.parse(text)).body)
    while todo:
        node = todo.pop(0)
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [node.module] + [node.module + "." + alias.name for alias in node.names]
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            todo[:0] = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    if "." in name:
        found.insert(0, name.rpartition(".")[0])
    return [module for module in found if module in known and module != name]


def hot_order(sources: Sources, *roots: str) -> List[str]:
    """The modules that ``roots`` load, each after those it imports."""
    order: List[str] = []
    entered: Set[str] = set()

    def enter(name: str) -> None:
        if name in entered or name not in sources:
            return
        entered.add(name)
        for module in imports(name, sources[name].text, sources):
            enter(module)
        order.append(name)

    for root in roots:
        enter(root)
    return order


def hot_groups(sources: Sources) -> Tuple[List[str], Dict[str, List[str]]]:
    """(the modules that every call of a compiler loads, {door: those that its story loads besides})."""
    behind = {door: hot_order(sources, ROOT, "kachelib." + door) for door in DOORS}
    shared = set.intersection(*(set(names) for names in behind.values()))
    first = [name for name in behind[DOORS[0]] if name in shared]
    return first, {door: [name for name in names if name not in shared] for door, names in behind.items()}


def stable(value: Any) -> bytes:
    """Marshalled bytes that do not depend on how often an object happened to be referred to."""
    return marshal.dumps(marshal.loads(marshal.dumps(value)))


def region(
    boot: bytes, sources: Sources, texts: Dict[str, Any], natives: Dict[Any, Any], build: str, *, inline: bool
) -> Tuple[bytes, int]:
    """(region, length of its blob); with ``inline`` the blob holds its cold modules itself.

    texts: of the modules that lie in the file as text, what boot.py's table says.
    """
    first, behind = hot_groups(sources)

    def codes(names: List[str]) -> Tuple[Tuple[str, CodeType], ...]:
        return tuple((name, hot_code(sources[name].text, sources[name].file)) for name in names)

    # Bytes within bytes: what lies behind the other door costs a call no more than its length.
    doors = {door: stable(codes(names)) for door, names in behind.items()}
    table: Dict[str, Tuple[object, int, bool]] = {
        name: (door, 0, sources[name].package) for door, names in behind.items() for name in names
    }
    table.update(texts)
    cold = b""
    for name in sorted(set(sources) - set(first) - set(table)):
        make = cold_code if name.startswith("kachelib.") else foreign_code
        code = stable(make(sources[name].text, sources[name].file))
        if not inline and name not in MISS:
            code = zlib.compress(code, 9)
        where = code if inline else ~len(cold) if name in MISS else len(cold)
        table[name] = (where, len(code), sources[name].package)
        cold += b"" if inline else code
    blob = stable((hot_code(boot, "launcher/boot.py"), codes(first), doors, table, natives, build))
    return blob + cold, len(blob)


def whole(zipped: "zipimporter", natives: Dict[Any, Any], build: str) -> bytes:
    """The blob for the running interpreter, from the archive's sources."""
    listed = marshal.loads(zipped.get_data("launcher/sources"))
    sources = {name: Source(zipped.get_data(file), file, package) for name, (file, package) in listed.items()}
    return region(zipped.get_data("launcher/boot.py"), sources, {}, natives, build, inline=True)[0]


def main() -> None:
    """Answer the builder: marshalled (boot, sources, texts, natives, build) in, (region, length of its blob) out."""
    boot, listed, texts, natives, build = marshal.loads(sys.stdin.buffer.read())
    sources = {name: Source(*source) for name, source in listed.items()}
    sys.stdout.buffer.write(marshal.dumps(region(boot, sources, texts, natives, build, inline=False), 4))


if __name__ == "__main__":
    main()
