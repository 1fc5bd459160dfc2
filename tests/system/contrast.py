"""Can every text be read? Contrast as WCAG defines it, computed from what the browser shows."""

from typing import Any

FIND_TEXT = """() => {
  const parse = text => (text.match(/[0-9.]+/g) || []).map(Number);
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const box = element.getBoundingClientRect();
    if (!walker.currentNode.data.trim() || box.width < 2 || box.height < 2) continue;
    const style = getComputedStyle(element);
    if (style.visibility !== "visible") continue;
    found.push({
      text: walker.currentNode.data.trim().slice(0, 40),
      ink: parse(style.color).slice(0, 3), paper: behind(element),
    });
  }
  return found;
}"""
LEAST = 4.5


def list_faint(found: list[dict[str, Any]]) -> list[tuple[str, float]]:
    """Return the texts whose contrast is below what WCAG AA asks for, each with its contrast."""
    assert found, "no text on the page"
    told = [(one["text"], contrast(one["ink"], one["paper"])) for one in found]
    return [(text, round(value, 2)) for text, value in told if value < LEAST]


def contrast(ink: list[float], paper: list[float]) -> float:
    """Return the contrast of two colours, from 1 to 21.

    Source: WCAG 2.2, *contrast ratio* and *relative luminance*.
    """
    light, dark = sorted((_luminance(ink), _luminance(paper)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: list[float]) -> float:
    parts = [one / 255 for one in color]
    red, green, blue = (
        one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
