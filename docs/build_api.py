"""Build docs/api.md from the docstrings of `flowers_model`: `python docs/build_api.py`.

The sources are parsed, not imported: it takes no time, and the same text comes out of every version
of Python.
"""

from __future__ import annotations

import ast
import itertools
import pathlib
import re
import textwrap

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/api.md"
PACKAGE = "flowers_model"
# What programs use; the other modules are for this project's own commands.
MODULES = (
    "classifier",
    "photo",
    "explain",
    "similar",
    "lesson",
    "ensemble",
    "bundle",
    "hub",
    "uncertainty",
    "engine",
    "network",
    "export",
    "names",
    "errors",
)
SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Examples?):")
LISTS = ("Args", "Attributes", "Raises")

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def build() -> str:
    """The text of docs/api.md."""
    parts = [
        "# API of flowers_model",
        "Written by `python docs/build_api.py` from the docstrings of the code; change those. "
        "Shapes are N photos, H and W pixels, S the side of the network's input, C classes and "
        "D values of an embedding.",
        _markdown(_parse(PACKAGE)[1]),
        "\n".join(f"- [{PACKAGE}.{name}](#{PACKAGE}{name})" for name in MODULES),
    ]
    for name in MODULES:
        module = f"{PACKAGE}.{name}"
        lines, tree = _parse(module)
        parts += [f"## {module}", _markdown(tree)]
        for source, node in _definitions(lines, tree):
            parts += _described(source, node, node.name, "###")
    return "\n\n".join(part for part in parts if part) + "\n"


def _parse(module: str) -> tuple[list[str], ast.Module]:
    """The lines and the tree of a module's file."""
    path = ROOT / module.replace(".", "/")
    package = path / "__init__.py"
    path = package if package.is_file() else path.with_suffix(".py")
    text = path.read_text("utf-8")
    return text.splitlines(), ast.parse(text)


def _definitions(lines: list[str], tree: ast.Module) -> list[tuple[list[str], Definition]]:
    """What a module defines, or re-exports by `__all__`, and the lines of the file it is in."""
    own = [node for node in tree.body if isinstance(node, Definition) and _is_public(node)]
    found = [(lines, node) for node in own]
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and _has_all(tree):
            names = {alias.name for alias in node.names}
            passed = _definitions(*_parse(node.module))
            found += [(source, one) for source, one in passed if one.name in names]
    return found


def _has_all(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
        for node in tree.body
    )


def _is_public(node: Definition) -> bool:
    hidden = node.name.startswith("_") or node.name == "main"  # a command's
    return not hidden and ast.get_docstring(node) is not None


def _described(lines: list[str], node: Definition, name: str, heading: str) -> list[str]:
    """Heading, signature and docstring of a class or function, and the methods of a class."""
    parts = [f"{heading} {name}"]
    first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
    code = lines[first - 1 : node.body[0].lineno - 1]
    if isinstance(node, ast.ClassDef):
        code = lines[node.lineno - 1 : node.body[0].lineno - 1] + _fields(lines, node)
    code = textwrap.dedent("\n".join(code)).strip()
    parts += [f"```python\n{code}\n```", _markdown(node)]
    for method in node.body if isinstance(node, ast.ClassDef) else ():
        if isinstance(method, ast.FunctionDef) and _is_public(method):
            parts += _described(lines, method, f"{name}.{method.name}", f"{heading}#")
    return parts


def _fields(lines: list[str], node: ast.ClassDef) -> list[str]:
    """The lines of a class's fields, with the comments behind and above them."""
    code = []
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and not field.target.id.startswith("_"):
            before = itertools.takewhile(
                lambda line: line.lstrip().startswith("#"), reversed(lines[: field.lineno - 1])
            )
            code += [*reversed(list(before)), *lines[field.lineno - 1 : field.end_lineno]]
    return code


def _markdown(node: ast.Module | Definition) -> str:
    """A docstring with its sections as Markdown."""
    text = ast.get_docstring(node) or ""
    done, section, entries = [], None, []

    def end() -> None:
        body = textwrap.dedent("\n".join(entries)).strip("\n")
        if section in LISTS:
            items = re.split(r"\n(?=\S)", body)
            named = (item.partition(":") for item in items)
            body = "\n".join(f"- `{name}`:{_inline(rest)}" for name, _, rest in named)
        done.extend([f"**{section}**", body] if section else [body])

    for line in text.splitlines():
        if found := SECTION.fullmatch(line):
            end()
            section, entries = found[1], []
        elif section and line and not line.startswith((" ", ">>>", "...")):
            end()  # plain text again
            section, entries = None, [line]
        else:
            entries.append(line)
    end()
    return _fenced("\n\n".join(done)).strip()


def _inline(text: str) -> str:
    return " " + " ".join(text.split()) if text.strip() else ""


def _fenced(text: str) -> str:
    """Sessions of the interpreter in fences."""
    return re.sub(
        r"(?m)^(>>> .*(?:\n(?!\n).+)*)", lambda found: f"```python\n{found[1]}\n```", text
    )


def main() -> None:
    """Write docs/api.md."""
    PAGE.write_text(build(), "utf-8", newline="\n")


if __name__ == "__main__":
    main()
