"""Hooks of MkDocs (mkdocs.yml): formulas become MathML while the site is built, and the search has a name.

GitHub shows fences of the language math as they are. MathML needs no JavaScript and nothing of another host, as the
usual renderers do.
"""

from __future__ import annotations

import re
from typing import Any

from latex2mathml.converter import convert
from markdown import Markdown
from mkdocs.config.defaults import MkDocsConfig

FENCES = "pymdownx.superfences"
SIM = ("<mi>&#x0007E;</mi>", "<mo>&#x0223C;</mo>")
"""The sign of "is distributed as": the converter makes it a letter, and letters have no space around them."""
SEARCH = ('role="dialog"', 'role="dialog" aria-label="Search"')
"""The theme's one dialog, which screen readers else announce without a name."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Teach the fences of Markdown one more language."""
    fence = {"name": "math", "class": "formula", "format": mathml}
    config.mdx_configs.setdefault(FENCES, {}).setdefault("custom_fences", []).append(fence)
    return config


def mathml(source: str, language: str, css_class: str, options: dict[str, Any], md: Markdown, **rest: Any) -> str:
    """A formula in LaTeX as MathML, in a box that scrolls where the page is narrow."""
    spaced = re.sub(r"\\log ", r"\\log\\, ", source)  # as TeX has it after a function; browsers put no space
    formula = convert(spaced, display="block").replace(*SIM)
    return f'<div class="{css_class}" tabindex="0">{formula}</div>'


def on_post_page(output: str, **about: Any) -> str:
    """The finished page, its search named."""
    return output.replace(*SEARCH)
