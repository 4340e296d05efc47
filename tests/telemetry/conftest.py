"""The hostile servers of the tools' tests are used here too."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tools"))
