import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "unit"))  # has the stand-in for S3
