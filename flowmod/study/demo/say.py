"""How the parts of the demo tell what they are doing."""

from collections.abc import Callable

Say = Callable[[str], None]
