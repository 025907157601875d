"""What our docstrings and Sphinx's dialect of them do not agree on."""

from typing import Any

from sphinx.application import Sphinx


def translate(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Rewrite a docstring in place, before napoleon takes its sections apart.

    Examples are fenced as in Markdown, which help pages and editors show well; Sphinx wants a directive. `Returns:` is
    prose here; napoleon would take what stands before the first colon of a sentence for a type.
    """
    del app, what, name, obj, options
    translated, fenced = [], False
    for line in lines:
        indent, text = line[: len(line) - len(line.lstrip())], line.strip()
        if text.startswith("```"):
            fenced = not fenced
            translated += [f"{indent}.. code-block:: {text[3:] or 'text'}", ""] if fenced else [""]
        elif line == "Returns:":
            translated.append(":returns:")
        else:
            translated.append(f"    {line}" if fenced and text else line)
    lines[:] = translated


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect before napoleon does, whose priority is 500."""
    app.connect("autodoc-process-docstring", translate, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
