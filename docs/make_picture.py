"""Draw docs/report.svg, the picture in the README: python docs/make_picture.py runs/quickstart."""

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from reports import build_report, print_report


def main() -> None:
    """Print the report of the folder given as the first argument into a recording terminal of 100 columns."""
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True)
    print_report(build_report(Path(sys.argv[1])), console)
    svg = console.export_svg(title="ablate run quickstart", unique_id="report")
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # the picture fetches nothing
    Path(__file__).with_name("report.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
