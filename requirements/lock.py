"""Writes requirements/default/lock.txt: the packages of the tested set with their hashes (Linux x86_64, Python 3.11).

.venv/bin/python -m pip install --dry-run --ignore-installed --report report.json \
    -r requirements/default/torch.txt -r requirements/default/openmmlab.txt -r requirements/dev.txt
python requirements/lock.py report.json
"""

import json
import sys
from pathlib import Path

HEAD = """# The tested set, for `make install LOCKED=1`: Linux x86_64, Python 3.11. Written by requirements/lock.py.
"""
report = json.loads(Path(sys.argv[1]).read_text())
lines = sorted(
    f'{item["metadata"]["name"].lower().replace("_", "-")}=={item["metadata"]["version"]} '
    f'--hash=sha256:{item["download_info"]["archive_info"]["hashes"]["sha256"]}'
    for item in report['install']
)
(Path(__file__).parent / 'default' / 'lock.txt').write_text(HEAD + '\n'.join(lines) + '\n')
