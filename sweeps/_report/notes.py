"""The part for those who ask how: methods, and what each word means."""

from .html import join, tag
from .material import Material
from .section import Section

_GLOSSARY = (
    ("confirmed", "Run again with seeds that the search never saw; only these are ranked."),
    ("interval", "A range that would hold the arm's true mean in 95 of 100 such sweeps."),
    ("interquartile mean", "Mean of the middle half of the seeds; one odd seed hardly moves it."),
    ("chance to win", "How often a run of this arm beats a run of the leader; a tie is half."),
    ("not distinguishable", "The test found no difference; with more seeds it might."),
    ("equivalent", "The difference is shown to be smaller than the margin."),
    ("max violation", "Load of the busiest expert over the mean load, less 1: 0 is balance."),
    ("load CV", "Standard deviation of the experts' load over its mean: 0 is balance."),
    ("FLOPs per item", "Forward, active experts and router included; a multiply-add is 2."),
    ("active parameters", "Those that work on an item; an expert not chosen does not."),
    ("dropped", "Share of the assignments asked for that capacity refused."),
    ("gate entropy", "How undecided a gate is: 1 weighs all experts alike, 0 chooses one."),
    ("dominated", "Another arm is at least as good in both objectives and better in one."),
    ("control", "Not a way of routing to be found, but what one must beat."),
)


def glossary_section(material: Material) -> Section:
    """The words of the page in short."""
    terms = (join(tag("dt", word), tag("dd", meaning)) for word, meaning in _GLOSSARY)
    return Section("glossary", "Words", tag("dl", *terms, class_="glossary"))
