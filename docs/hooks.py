"""For the site: a link to a file of the checkout outside docs/ becomes its name, since the site does not hold it."""

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)#]+)(#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    def plain(match: re.Match[str]) -> str:
        target = (DOCS / page.file.src_uri).parent / match[2]
        outside = target.exists() and not target.resolve().is_relative_to(DOCS.resolve())
        return match[1] if outside else match[0]

    return LINK.sub(plain, markdown)
