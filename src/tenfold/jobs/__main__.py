"""`python -P -m tenfold.jobs FOLDER` does the job that is described in FOLDER."""

import sys
from pathlib import Path

from tenfold.jobs.job import work

sys.exit(work(Path(sys.argv[1])))
