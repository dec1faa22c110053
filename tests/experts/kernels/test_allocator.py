"""The allocator is tuned where a user asks for it, and never by an import."""

import subprocess
import sys

WATCHED = """
import ctypes, sys
real, platform = ctypes.CDLL, sys.platform
asked = []
answers = {-1: 1, -4: 1}

class Watched(ctypes.CDLL):
    def __getattr__(self, name):
        if name != "mallopt":
            return super().__getattr__(name)
        return lambda option, value: (asked.append((option, value)), answers[option])[1]

ctypes.CDLL = Watched
import experts, routers, tasks
assert not asked, asked
experts.MoE(routers.build("topk", 8, 4), experts.build("mlp", 8, 4))
assert not asked, asked

assert experts.tune_allocator() is True
assert sorted(asked) == [(-4, 0), (-1, 2**31 - 1)], asked
for refused in (-1, -4):
    answers[refused] = 0
    assert experts.tune_allocator() is False
    answers[refused] = 1

del Watched.__getattr__
ctypes.CDLL = lambda name: object()  # a C library without it
assert experts.tune_allocator() is False
sys.platform = "darwin"
ctypes.CDLL = None  # not even looked at
assert experts.tune_allocator() is False

ctypes.CDLL, sys.platform = real, platform  # for real, and for good
print(experts.tune_allocator())
"""


def test_no_import_calls_it_and_a_user_can():
    """In a separate process, since the setting is permanent."""
    done = subprocess.run([sys.executable, "-c", WATCHED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in {"True", "False"}
