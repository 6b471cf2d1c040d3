"""Draw docs/gradients.svg, a map in the README: python docs/make_gradients_picture.py runs/vanishing_gradient."""

import sys
from pathlib import Path

from reports import build_report
from reports.figures.layer_maps import layer_figures

NAME = "mechanism-weight_gradient"


def main() -> None:
    """Draw the gradient of each layer in each epoch, as it stands in the report of the folder given first."""
    (picture,) = [each for each in layer_figures(build_report(Path(sys.argv[1]))) if each.name == NAME]
    Path(__file__).with_name("gradients.svg").write_text(picture.svg, encoding="utf-8")


if __name__ == "__main__":
    main()
