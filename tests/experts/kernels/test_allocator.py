"""The allocator is tuned where a user asks for it, and never by an import."""

import subprocess
import sys

import experts

WATCHED = """
import ctypes, sys
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
"""


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_no_import_calls_it_and_a_user_can():
    done = run(WATCHED)
    assert done.returncode == 0, done.stderr


def test_for_real():
    """In a separate process, since the setting is permanent."""
    code = "import experts; print(experts.tune_allocator())"
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in {"True", "False"}
    assert callable(experts.tune_allocator)
