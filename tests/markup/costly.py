"""Messages that try to keep the server busy."""

from collections.abc import Iterator

LENGTH = 4000
CODE_LENGTH = 2000

# Parts that are repeated until a message is full.
UNITS = [
    *"[]()!*_`~<>&\\$|#-+=:\"'{}^%@.1a",
    *("\n" + unit for unit in "abcdefg"[:1]),
    "[](", "[a](", "[a](b", "![", "![](", "[[]", "[]", "a]", "[a][", "[a]: b\n", "[x](<", '[x](a "', "[x](a '",
    "](", "][",
    "*a", "*a ", "a*", "**a", "*_", "_*", "*a_ ", "**a *b ", "*a **a ", "a**b", "a*b_", "_a ", "__a ", "*a*",
    "**a**", "_a_ ",
    "~~a", "~~a ", "~~a~~", "~a~ ", "*a~~b", "***a ", "a***", "* ", "* *", "*\n", "*\u00a0",
    "`a", "`a``b", "`a`", "``a`", "`\\", "\\`", "`\n", "\\", "\\\\", "\\a", "\\*", "&amp;", "&#1;", "&#x41;", "&",
    "&a",
    "<a", "<a>", "<a@b.c>", "<http:", "<http://a", "<http://a>", "<!--", "<![CDATA[", "<?", "<!A", "</a", "<a b=",
    "<a b='",
    "http://", "http://a", "http://a ", "https://a.b/ ", "http:", "://", "a://", "http://a.", "http://a)",
    "https://a/_a_",
    "[a.aa](http://a)", "[ﷺ](http://a)", "[%2e](http://a) ", "http://жз.b ", "[x](http:\\/\\/жз.b)",
    "http://[", "http://a@", "mailto:", "www.", "a@b.c ",
    "$", "$a", "$a$", "$a$ ", "$$", "$$a", "$$a$$", "$$a$$ ", "$$\n", "$$a\n", "$$\na\n$$\n", "\\$", "$\\",
    "$a\\$", "$ a", "$1",
    "> ", ">", ">\n", "> a\n", ">>", "> > ", ">a\n\n", "> -", "> - ", "- > ", "- ", "-\n", "- a\n", "- - ",
    "-\ta\n", "+ ",
    "1. ", "1.\n", "1. a\n", "1) ", "1. - ", "- 1. > ", "1.\n 1.\n", " - a\n", "- a\n\n", "* a\n- b\n+ c\n", "#",
    "# ", "# a\n",
    "#\n", "## a\n", "---\n", "***\n", "- - -\n", "===\n", "a\n===\n", "a\n---\n", "\n", "a\n", "a\n\n", " \n",
    "    a\n", "\t", "\ta\n",
    "|", "|a", "|a|", "| a |\n", "a|b\n-|-\n", "|a|b|\n|-|-|\n", "|\n", "|-", "|-|", "-|", "\\|", "`|", "a|b\n",
    "```", "```\n", "```a\n", "```\na\n```\n", "~~~\n", "~~~a\n```\n", "```python\na\n```\n", "```py\n1\n```\n",
    "````\n```\n",
    "a", "a ", "é", "\U0001f600", "\u200b", "\u202e", "e\u0301", "\u3000", "\r\n", "\r", "\x0b", "\x0c", "\u2028",
    "\ufeff",
]  # fmt: skip

HEADS = ["", "a ", "*", "[", "`", "> ", "- ", "1. ", "|a|b|\n|-|-|\n", "$$\n", "# ", "**x** "]

# Inside dollar signs.
FORMULAS = [
    *"{}^_\\&%'~|<>()[].,a1+- ",
    "\\frac{", "\\frac", "\\frac{a}{", "\\frac{1}{2}", "\\frac a", "\\sqrt", "\\sqrt{", "\\sqrt[", "\\sqrt[3]{",
    "\\left(", "\\left",
    "\\left(\\right)", "\\right)", "\\begin{matrix}", "\\begin{matrix}a\\end{matrix}", "\\begin{a}", "\\end{a}",
    "a&", "a\\\\",
    "\\hline", "\\text{a}", "\\text{", "\\text", "\\mathbb{R}", "\\mathbb", "\\mathbb{", "\\mathrm{a",
    "\\operatorname{a}", "\\over",
    "a\\over b", "{a\\over", "\\choose", "\\atop", "\\binom{", "\\dbinom{a}{b}", "\\overset{", "\\underset{a}{",
    "\\overbrace{",
    "\\hat", "\\hat{", "\\vec{a}", "\\sum_", "\\sum_{i=1}^{n}", "\\int", "\\lim_{", "\\limits", "\\limits_",
    "\\prod^", "\\not",
    "\\substack{", "\\sideset{}{}", "\\genfrac{}{}{0pt}{}{a}{b}", "\\cfrac{1}{", "\\big(", "\\Big", "\\mathop{",
    "\\color{red}",
    "\\displaystyle", "\\textstyle ", "\\hspace{1em}", "\\hskip", "\\kern", "\\phantom{", "\\boxed{", "\\cases{",
    "\\pmod{", "\\mod",
    "\\bmod", "\\fbox{a}", "\\hbox{$", "\\hbox{a", "\\mbox{$a$}", "\\middle|", "\\skew", "\\mkern", "\\rule{",
    "\\overline{", "a'",
    "'", "a^{b^{", "a_{b_{", "a_b^c", "^a", "_a", "a^", "{}", "{}^{}", "\\alpha", "\\alpha ", "\\ ", "\\,", "\\;",
    "\\unknown",
    "&#x41;", "\u03b1", "1.", "1.1", "1em", "-1pt", "\\{", "\\}", "\\|", "\\xrightarrow{", "\\stackrel{",
    "\\buildrel", "\\root",
    "\\begin{array}{c}", "\\begin{cases}a&b\\\\", "\\begin{align}", "\\tag{", "\\ce{", "\\dots", "\\prime",
    "\\mathcal{A}", "\\bf ",
]  # fmt: skip

# Inside a code block, in any language.
CODES = [
    *"\"'`/\\*#<>{}()[]$@%&|~^!?:;,.-+=_a1A \n\t",
    '"a', "'a", '"""', "'''", '"\\', "'\\", "\\\n", "/*", "/**", "//", "/* *", "*/", "<!--", "-->", "<![CDATA[",
    "<a", "<a b=", "<a>",
    "</", "<?", "<?php ", "<script>", "<style>", "${", "$(", "`${", "#{", "{{", "{%", "<<A\n", "<<'A'\n", "<<<A\n",
    "r'", "f'{", "f\"{a",
    "b'", "a.b", "a.", "a::", "a->", "a(", "a(b,", "a<", "a<b,", "a[", "@a", "@a\n", "#a\n", "# a", "#if\n",
    "#define a \\\n", "%a", "--",
    "-- a\n", "{-", "-}", "(*", ":-", "=>", "1.", "1e", "0x", "1_", "1.1.", "a ", "a b ", "A ", "Aa ", "a\n",
    " a\n", "\ta\n", "    ",
    "def a", "def a(", "class A", "class A(", "import a", "import a.", "import a,", "from a import ", "public ",
    "public a ", "int a",
    "int a(", "a a(", "a a(b){", "static ", "func ", "fn a<", "let a", "let a:", "select ", "select a,", "case ",
    "begin ", "if ", "else ",
    "return ", "void a(", "template<", "typename ", "using ", "namespace ", "a = ", "a: ", "a:\n", "- a\n", "- ",
    "? ", "&a ", "*a ",
    "!a ", "|\n", ">\n", "{a", "{a:", '{"a":', "[1,", "{a}", "[a]\n", "a=b\n", "\\a", "\\a{", "\\begin{a}", "$$",
    "$a$", "+a\n", "-a\n",
    "@@ ", "diff ", "index ", ">>> ", ">>> a\n", "...", "... a\n", "$ a\n", "a@b:~$ ", "PS> ", "é", "\U0001f600",
    "\u2028", "\x00",
    "a" * 50 + "!", " " * 50, "\n" * 20,
]  # fmt: skip


def repeated(unit: str, head: str = "", tail: str = "", length: int = LENGTH) -> str:
    return head + (unit * length)[: max(length - len(head) - len(tail), 0)] + tail


def messages() -> Iterator[str]:
    """Yield messages made from the parts above, of the maximum length and of lengths near the limits."""
    for unit in UNITS:
        for head in HEADS:
            for length in (600, LENGTH):
                yield repeated(unit, head, length=length)
    for unit in FORMULAS:
        for length in (120, 400, LENGTH):
            yield repeated(unit, "$", "$", length)
            yield repeated(unit, "$x", "}" * (length // 4) + "$", length)


def code_messages(language: str) -> Iterator[str]:
    """Return a code block in `language`, of the longest length that is highlighted."""
    for part in CODES:
        yield repeated(part, f"```{language}\n", length=CODE_LENGTH)
    for separator in LINE_BREAKS:
        yield repeated(separator, f"```{language}\n", length=CODE_LENGTH)


LINE_BREAKS = ["\n", "\r", "\r\n", "\v", "\f", "\x85", "\u2028", "\u2029"]
