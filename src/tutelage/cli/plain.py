"""The Markdown of our own pages as text for a terminal, formulas included."""

import re
import textwrap
import unicodedata

# ruff: noqa: RUF001 (the symbols are meant)
_WORDS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "varepsilon": "ε",
    "eta": "η", "theta": "θ", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ",
    "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "varphi": "φ", "psi": "ψ",
    "omega": "ω", "Delta": "Δ", "Sigma": "Σ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω", "Gamma": "Γ",
    "Lambda": "Λ", "Theta": "Θ",
    "sum": "Σ", "prod": "Π", "ne": "≠", "neq": "≠", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥",
    "in": "∈", "notin": "∉", "to": "→", "infty": "∞", "cdot": "·", "times": "×", "odot": "⊙",
    "top": "ᵀ", "ell": "ℓ", "pm": "±", "approx": "≈", "propto": "∝", "cup": "∪", "cap": "∩",
    "langle": "⟨", "rangle": "⟩", "lVert": "‖", "rVert": "‖", "lvert": "|", "rvert": "|",
    "partial": "∂", "nabla": "∇", "dots": "…", "ldots": "…", "cdots": "…", "sim": "~", "mid": "|",
    "circ": "∘", "lfloor": "⌊", "rfloor": "⌋", "mapsto": "↦", "star": "*", "forall": "∀",
    "angle": "∠", "quad": "   ", "qquad": "     ",
}  # fmt: skip
_SILENT = (
    "left|right|[bB]ig+[lr]?|displaystyle|textstyle|limits|mathrm|mathbf|mathcal|mathbb|text|"
    "operatorname|boldsymbol|mathit|bm"
)
_ACCENTS = {"hat": "\u0302", "bar": "\u0304", "tilde": "\u0303", "overline": "\u0304",
            "widehat": "\u0302", "vec": "\u20d7"}  # fmt: skip
_WIDTH = 80


def formula(latex: str) -> str:
    r"""Return a formula as text.

    >>> formula(r"T^2 \, \mathrm{KL}(p \,\|\, q) = \sum_c \frac{p_c}{\hat q_c}")
    'T^2 KL(p ‖ q) = Σ_c p_c / q̂_c'
    """
    text = re.sub(r"\\begin\{\w+\}|\\end\{\w+\}", "", latex).replace("\\\\", ";").replace("&", " ")
    text = text.replace("\\|", "‖").replace("\\{", "\1").replace("\\}", "\2")
    text = re.sub(r"\\[,;:!> ]", " ", text)
    text = re.sub(rf"\\({_SILENT})(?![a-zA-Z])", "", text)
    text = re.sub(rf"\\({'|'.join(_ACCENTS)})\s*(?:\{{(\w)\}}|(\w))", _accented, text)
    before = ""
    while before != text:  # from the inside out
        before = text
        text = re.sub(r"\\[td]?frac\s*([0-9a-z])\s*([0-9a-z])(?![a-z])", r"\1/\2", text)
        text = re.sub(r"\\[td]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", _fraction, text)
        text = re.sub(r"\\sqrt\s*\{([^{}]*)\}", r"√(\1)", text)
        text = re.sub(r"([_^])\{([^{}]*)\}", _script, text)
        if before == text:  # what is left is grouping
            text = re.sub(r"(?<![_^])\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\\([a-zA-Z]+)", lambda found: _WORDS.get(found[1], found[1]), text)
    text = text.replace("\1", "{").replace("\2", "}").replace("\\", "").replace("^ᵀ", "ᵀ")
    return re.sub(r"[ ]+", " ", re.sub(r"\s*\n\s*", "\n", text)).strip()


def _accented(found: re.Match[str]) -> str:
    return unicodedata.normalize("NFC", f"{found[2] or found[3]}{_ACCENTS[found[1]]}")


def _fraction(found: re.Match[str]) -> str:
    return " / ".join(
        part if re.fullmatch(r"[\w^\\|‖\u0300-\u036f]+", part) else f"({part})"
        for part in (found[1].strip(), found[2].strip())
    )


def _script(found: re.Match[str]) -> str:
    content = found[2].strip()
    short = re.fullmatch(r"\\?[\w\u0300-\u036f]+", content)
    return f"{found[1]}{content}" if short else f"{found[1]}({content})"


def plain(markdown: str) -> str:
    """Return a page as text of at most 80 columns, where its words allow it."""
    pieces = re.split(r"(^```.*?^```$)", markdown, flags=re.DOTALL | re.MULTILINE)
    blocks = []
    for piece in pieces:
        if piece.startswith("```"):
            blocks.append(_fenced(piece))
        else:
            blocks += [_block(block) for block in piece.split("\n\n") if block.strip()]
    return "\n\n".join(blocks) + "\n"


def _fenced(piece: str) -> str:
    kind, _, content = piece.strip("`").partition("\n")
    lines = formula(content) if kind == "math" else content.rstrip()
    if kind == "python":
        lines = textwrap.fill(lines, _WIDTH - 4, subsequent_indent="    ")
    return textwrap.indent(lines, "    ")


def _block(block: str) -> str:
    block = block.strip("\n")
    if block.startswith("#"):
        title = inline(block.lstrip("# "))
        return f"{title}\n{('-' if block.startswith('##') else '=') * len(title)}"
    if block.startswith("|"):
        return _table(block)
    if block.startswith("- "):
        return "\n".join(_filled(line, "  ") for line in block.split("\n"))
    return _filled(block)


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(inline(text), _WIDTH, subsequent_indent=indent, break_long_words=False)


def _table(block: str) -> str:
    """Return a table in columns, and one of options as paragraphs."""
    rows = [[inline(cell.strip().replace("\\|", "|")) for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
            for row in block.split("\n") if not row.startswith("|---")]  # fmt: skip
    if rows[0][0] == "option":
        return "\n".join(_filled(f"{row[0]} = {row[1]}: {row[2]}", "    ") for row in rows[1:])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (zip(row, widths, strict=True) for row in rows)
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in line).rstrip() for line in lines
    )


def inline(text: str) -> str:
    """Return text without its marks."""
    text = re.sub(r"\$`([^`]*)`\$", lambda found: formula(found[1]), text)
    text = re.sub(r"\[([^\]]*)\]\((https?://[^)]*)\)", r"\2", text)
    return text.replace("`", "").replace("**", "")
