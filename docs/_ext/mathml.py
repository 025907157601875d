"""Formulas become MathML when the pages are built, so that a page needs no script and no network to show them.

Every current browser draws MathML. A formula that the converter does not understand is a warning, and a warning ends
the build.
"""

import re
from html import escape

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)


# What the converter passes through instead of refusing it: commands, alignment marks and line ends it does not know.
LEFT_OVER = re.compile(r"\\[A-Za-z]+|&(?=</mi>)|(?<=linebreak=)\"newline\"")


def to_mathml(latex: str, display: str, node: nodes.Node) -> str:
    """The MathML of a formula, with a warning at its place where the converter fails or leaves something as it is."""
    if r"\\" in latex and r"\begin" not in latex:  # the lines of a display, aligned as Sphinx's own renderers do
        latex = rf"\begin{{split}}{latex}\end{{split}}"
    # Of the aligned environments the converter knows `split`, and `align`, which it would number by itself.
    latex = re.sub(r"(\\(?:begin|end))\{align(?:ed|\*)?\}", r"\1{split}", latex.strip())
    try:
        mathml = convert(latex, display=display)
    except Exception as error:
        logger.warning("formula not understood (%s): %s", type(error).__name__, latex, location=node)
        return f"<code>{escape(latex)}</code>"
    if left := sorted(set(LEFT_OVER.findall(mathml))):
        logger.warning("formula with %s, which is not known: %s", ", ".join(left), latex, location=node)
    return mathml


def visit_inline(self: HTML5Translator, node: nodes.math) -> None:
    """`math` in a sentence."""
    self.body.append(to_mathml(node.astext(), "inline", node))
    raise nodes.SkipNode


def visit_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """A display, with its number if it has one."""
    # Without an anchor: furo puts each display into a box that scrolls, and that has it.
    self.body.append('<div class="math">')
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(to_mathml(node.astext(), "block", node))
    self.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer; `html_math_renderer = "mathml"` chooses it."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
