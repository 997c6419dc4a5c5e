"""`python -m tidr.docs -o FOLDER [--gallery]`: write the pages."""

import argparse
import os
import sys
from pathlib import Path

from tidr.errors import TidrError

from .build import build


def main() -> None:
    """Write the documentation; exit code 2 and one line where the folder cannot be written."""
    os.environ.setdefault("ENABLE_TAICHI_HEADER_PRINT", "0")
    parser = argparse.ArgumentParser(prog="python -m tidr.docs", description="Write tidr's documentation as Markdown.")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where the pages go")
    parser.add_argument("--gallery", action="store_true", help="also draw the bundled scenes, which takes minutes")
    chosen = parser.parse_args()
    try:
        pages = build(chosen.output, gallery=chosen.gallery)
    except TidrError as error:
        print(f"python -m tidr.docs: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{len(pages)} pages in {chosen.output}, begin at {pages[0].name}")


if __name__ == "__main__":
    main()
