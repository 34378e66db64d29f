"""Docstrings as prose: the text of one module's documentation, from its source or, built-in, from its live objects.

A module's text is its name, its docstring, and then, in the order of the source, each public class and function that
has a docstring, under a heading with its name and parameters. Knows nothing of sources, items or files' digests.
"""

import ast
import builtins
import importlib
import inspect
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import BuiltinFunctionType, MethodDescriptorType, ModuleType

_SKIPPED_FOLDERS = {
    "__pycache__",
    "_bundled",  # wheels of ensurepip
    "dist-packages",
    "idlelib",
    "lib-dynload",
    "lib2to3",
    "site-packages",
    "test",
    "tests",
}
_SKIPPED_MODULES = ("_sysconfigdata", "__phello__", "antigravity", "this")  # beginnings of names

_EXTENSIONS = (
    *("array", "binascii", "cmath", "fcntl", "grp", "math", "mmap", "resource", "select", "syslog", "termios"),
    *("unicodedata", "zlib", "_contextvars", "_csv", "_queue", "_random", "_socket", "_struct"),
)
"""Extension modules that may be files of their own; importing them does nothing but load them."""

_WITH_TWIN = {"_abc", "_functools", "_io", "_operator", "xxsubtype"}
"""Built-in modules whose docstrings stand in a module written in Python, too."""

_BUILTINS = dict(vars(builtins))
"""The built-in names as of now: a program may replace some while it runs, `print` above all where prints are logged."""


def module_files() -> list[tuple[str, Path]]:
    """(dotted name, file) of the standard library's modules that are written in Python, sorted by name."""
    root = Path(sysconfig.get_path("stdlib"))
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS and not name.startswith("config-")]
        package = Path(folder).relative_to(root).parts
        for name in files:
            if name.endswith(".py"):
                parts = package if name == "__init__.py" else (*package, name[:-3])
                found.append((".".join(parts), Path(folder, name)))
    return sorted((name, path) for name, path in found if name and not name.startswith(_SKIPPED_MODULES))


def module_text(name: str, source: bytes) -> str | None:
    """The documentation in a module's source, or None when it has none. Raises SyntaxError, ValueError."""
    tree = ast.parse(source)
    sections = list(_sections(tree, ""))
    if docstring := ast.get_docstring(tree):
        sections.insert(0, docstring)
    return "\n\n".join([name, *sections]) if sections else None


def _sections(node: ast.AST, owner: str) -> Iterator[str]:
    """Headings and docstrings below `node`; `owner` is the dotted name of the class around it, with a dot."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            if _is_public(child.name):
                yield from _section(f"class {owner}{child.name}", ast.get_docstring(child))
                yield from _sections(child, f"{owner}{child.name}.")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            if _is_public(child.name):
                yield from _section(f"{owner}{child.name}({_parameters(child.args)})", ast.get_docstring(child))
        elif isinstance(child, ast.If | ast.Try | ast.With | ast.ExceptHandler):
            yield from _sections(child, owner)


def _section(heading: str, docstring: str | None) -> Iterator[str]:
    if docstring and docstring.strip():
        yield heading
        yield docstring


def _is_public(name: str) -> bool:
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def _parameters(arguments: ast.arguments) -> str:
    """Names of the parameters, without self and cls, defaults and annotations."""
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    if names and names[0] in ("self", "cls"):
        del names[0]
    if arguments.vararg:
        names.append(f"*{arguments.vararg.arg}")
    names += [argument.arg for argument in arguments.kwonlyargs]
    if arguments.kwarg:
        names.append(f"**{arguments.kwarg.arg}")
    return ", ".join(names)


def builtin_modules() -> list[str]:
    """Names of the modules whose documentation is in live objects only, sorted."""
    return sorted({*sys.builtin_module_names, *_EXTENSIONS} - _WITH_TWIN)


def builtin_module_text(name: str) -> str | None:
    """The documentation of a built-in module, or None when this Python has no such module, or the module no text."""
    try:
        module = importlib.import_module(name)
    except ImportError:
        return None
    sections = [*_section("", module.__doc__)][1:]
    members = _BUILTINS if module is builtins else vars(module)
    for member, value in sorted(members.items()):
        if not member.startswith("_"):
            sections += _live_sections(module, member, members.get(f"__{member}__", value))
    sections = [inspect.cleandoc(section) for section in sections]
    return "\n\n".join([name, *sections]) if sections else None


def _live_sections(module: ModuleType, name: str, value: object) -> Iterator[str]:
    """Heading and docstring of a class or function that is the module's own; what programs put there is not."""
    if isinstance(value, type):
        if value.__module__ == "builtins" and module.__name__ != "builtins":
            return
        yield from _section(f"class {name}", value.__doc__)
        for member, method in sorted(vars(value).items()):
            if not member.startswith("_") and isinstance(method, MethodDescriptorType):
                yield from _section(f"{name}.{member}{_signature(method)}", method.__doc__)
    elif isinstance(value, BuiltinFunctionType) and value.__module__ == module.__name__:
        yield from _section(f"{name}{_signature(value)}", value.__doc__)


def _signature(function: BuiltinFunctionType | MethodDescriptorType) -> str:
    """Parameters as a built-in function states them, without the object itself; `()` where it does not."""
    stated: str = getattr(function, "__text_signature__", None) or "()"
    names = [name.strip() for name in stated.strip("()").split(",")]
    return "(" + ", ".join(name for name in names if name and not name.startswith("$") and name != "/") + ")"
