"""Colours of charts and figures that follow the reader's scheme: as they are in the light, turned round in the dark.

Each colour is written as var(--kRRGGBB,#RRGGBB). In the dark, and on the screen alone, the page gives these variables
the colour of the same hue whose lightness is turned round, so that all charts, figures and legends change alike.
"""

import colorsys
import re

COLOR = re.compile(r"#([0-9a-fA-F]{6})(?![0-9a-fA-F])")
USED = re.compile(r"var\(--k([0-9a-f]{6}),")
LIGHTEST, SPAN = 0.93, 0.80
"""Black becomes so light; white is darker by so much."""
PAPER = "ffffff"
"""The ground of figures, which becomes that of the page's cards."""


def themed(text: str) -> str:
    """CSS with each colour #RRGGBB as a variable of the scheme."""
    return COLOR.sub(lambda found: f"var(--k{found[1].lower()},#{found[1].lower()})", text)


def dark(color: str) -> str:
    """The colour RRGGBB for a dark ground, as #RRGGBB."""
    red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (0, 2, 4))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    turned = colorsys.hls_to_rgb(hue, LIGHTEST - SPAN * lightness, saturation)
    return "#" + "".join(f"{round(255 * part):02x}" for part in turned)


def dark_css(page: str) -> str:
    """The variables of all colours that a page uses, for its dark scheme."""
    used = sorted(set(USED.findall(page)))
    values = "".join(f"--k{each}:{'var(--card)' if each == PAPER else dark(each)};" for each in used)
    return f"@media screen and (prefers-color-scheme: dark){{:root{{{values}}}}}" if used else ""
