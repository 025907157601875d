"""Run the first Python block of the README as it stands, so that what a reader copies is known to work."""

import re
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"

block = re.search(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
if block is None:
    raise SystemExit("README.md has no ```python block to run")
code = block[1]
exec(compile(code, "README.md, first block", "exec"), {"__name__": "__main__"})
print(f"the quickstart of README.md ran ({len(code.splitlines())} lines)")
