"""Run the Python blocks of a page as they stand, one after the other, so that what a reader copies is known to work.

Without an argument the page is README.md.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

page = sys.argv[1] if len(sys.argv) > 1 else "README.md"
blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
if not blocks:
    raise SystemExit(f"{page} has no ```python block to run")
names: dict = {"__name__": "__main__"}
for number, code in enumerate(blocks, start=1):
    exec(compile(code, f"{page}, block {number}", "exec"), names)
print(f"the {len(blocks)} Python blocks of {page} ran")
