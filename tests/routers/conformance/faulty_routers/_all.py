"""The traps of this field by number, and everything that is planted, file by file."""

from . import capacity, load, memory, reach, scores

TRAPS = {
    1: "one expert with a renormalised weight: no gradient",
    2: "chance in eval",
    3: "capacity without an agreed rounding",
    4: "drop order and renormalising",
    5: "f of the load term",
    6: "estimator of the load",
    7: "CV at perfect balance",
    8: "softmax of a softmax",
    9: "bias balancing",
    10: "half precision in the gate",
    11: "jitter, and logits changed in place",
    12: "seeing the future or batch-mates",
    13: "Sinkhorn overflows, loops without a bound",
    14: "losses in module globals",
    15: "idle experts",
    16: "padding",
    17: "losses pooled over layers",
    18: "replayed weights from masked probabilities: no gradient",
    19: "a counter of steps that evaluation advances",
    20: "scores divided by their sum plus a small number",
}

FILES = [scores, capacity, load, memory, reach]
PLANTS = sorted((p for file in FILES for p in file.PLANTS), key=lambda planted: planted.trap)
