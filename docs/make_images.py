"""Make the README's pictures from a real run: what the terminal showed, and the report page.

    camelid quickstart 2>&1 | tee quickstart.log
    python docs/make_images.py quickstart.log runs/quickstart/report.html

Needs Chromium (Debian: `apt install chromium fonts-noto-cjk`). Writes docs/images/*.png.
"""

from __future__ import annotations

import argparse
import html
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

IMAGES = Path(__file__).parent / "images"
PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #16181d; color: #d8dee9; }}
pre {{ margin: 0; padding: 22px 26px; font: 14px/1.5 "Noto Sans Mono CJK SC", monospace; white-space: pre-wrap; }}
b {{ color: #8fbcbb; font-weight: normal; }} i {{ color: #a3be8c; font-style: normal; }}
s {{ color: #7b8494; text-decoration: none; }}
</style><pre>{text}</pre>"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, help="what the terminal showed")
    parser.add_argument("report", type=Path, help="the run's report.html")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("Chromium is not installed: apt install chromium fonts-noto-cjk")
    IMAGES.mkdir(exist_ok=True)
    lines = shown(options.log.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        page = Path(scratch) / "terminal.html"
        page.write_text(PAGE.format(text="\n".join(coloured(line) for line in lines)), encoding="utf-8")
        shoot(chromium, page, IMAGES / "quickstart.png", 1000, 44 + 21 * sum(1 + len(line) // 130 for line in lines))
    shoot(chromium, options.report, IMAGES / "report.png", 1000, 1400)


def shown(log: str) -> list[str]:
    """The lines as they stood in the end: three states of the bar, no warnings of pip."""
    lines = [line.rsplit("\r", 1)[-1].rstrip() for line in log.splitlines()]
    lines = [line for line in lines if not line.startswith("WARNING")]
    steps = [line for line in lines if line.startswith("step")]
    kept = {*steps[:1], *steps[len(steps) // 2 : len(steps) // 2 + 1], *steps[-1:]}
    return [line for line in lines if not line.startswith("step") or line in kept]


def coloured(line: str) -> str:
    """One line as HTML: questions bright, answers after training green, the plan grey."""
    text = html.escape(line)
    if re.match(r"\s+before:", line) or line.startswith("plan:"):
        return f"<s>{text}</s>"
    if re.match(r"\s+after:", line) or " -&gt; " in text:
        return f"<i>{text}</i>"
    return f"<b>{text}</b>" if line.startswith(("step", "$")) else text


def shoot(chromium: str, page: Path, target: Path, width: int, height: int) -> None:
    """A picture of the page's upper `height` pixels."""
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    size = f"--window-size={width},{height}"
    subprocess.run(
        [*command, size, f"--screenshot={target}", page.resolve().as_uri()],
        check=True,
        capture_output=True,
        timeout=120,
    )
    print(f"{target}: {target.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
