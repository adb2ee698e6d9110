"""What holds for all tests."""

from __future__ import annotations

import signal

from hypothesis import settings

# a machine may be busy: no test asserts a time, nor does Hypothesis
settings.register_profile("iotrace", deadline=None)
settings.load_profile("iotrace")

# tests send these; nohup, or a shell that runs the tests in the background, must not make their programs deaf to them
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)
