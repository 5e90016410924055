"""Exits with a clear word where this Python cannot set up the project. Runs on any Python, 2.7 included."""

import sys

complaint = None
if sys.version_info < (3, 11):
    have = (sys.executable or "this python", ".".join(str(part) for part in sys.version_info[:3]))
    complaint = "mps-patcher needs Python 3.11 or newer; %s is %s." % have
else:
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        complaint = "%s cannot make environments (%s); Debian and Ubuntu have python3-venv." % (sys.executable, error)

if complaint:
    sys.exit("error: %s\nhint: set another one: make PYTHON=/path/to/python3.12" % complaint)
