"""Text for the demo site: plain English made up from a seed, the same on every run and every Python.

Owns vocabulary and grammar. Knows nothing of pages.
"""

from __future__ import annotations

import random

STEMS = ("Alder", "Brack", "Corve", "Dunmere", "Elsing", "Farrow", "Gannet", "Hollin", "Isk", "Kestle")
KINDS = ("River", "Bridge", "Mill", "Market", "Lighthouse", "Festival", "Guild", "Marsh", "Canal")

_ADJECTIVES = ("narrow", "restored", "well-known", "quiet", "stone-built", "seasonal", "busy", "northern", "older",
               "modest", "tidal", "carefully kept", "wooden", "early", "disputed", "small")  # fmt: skip
_NOUNS = ("harbour", "footpath", "workshop", "archive", "orchard", "ferry", "council", "school", "warehouse", "weir",
          "lock", "granary", "signal tower", "reading room", "quarry", "boatyard", "chapel", "well")  # fmt: skip
_PEOPLE = ("surveyors", "millers", "ferrymen", "weavers", "botanists", "teachers", "printers", "clerks", "shepherds",
           "engineers", "visitors", "residents")  # fmt: skip
_DID = ("rebuilt", "measured", "described", "closed", "extended", "painted", "bought", "abandoned", "mapped", "flooded",
        "repaired", "photographed")  # fmt: skip
_WHEN = ("in the spring", "after the second flood", "before the railway came", "in a dry year", "over two winters",
         "within a decade", "during the long strike", "late in the century", "one autumn")  # fmt: skip
_WHY = ("to shorten the way to market", "because the old one leaked", "at the council's expense",
        "without asking anyone", "with stone from the quarry", "for the sake of the eels",
        "to keep the accounts dry", "against much advice")  # fmt: skip
_GIVEN = ("Ada", "Bren", "Cato", "Dilys", "Edda", "Finn", "Gwen", "Hal", "Ines", "Jory", "Kit", "Lowri")
_GOODS = ("Lantern", "Kettle", "Notebook", "Raincoat", "Compass", "Teapot", "Satchel", "Oar", "Bell", "Lamp", "Stool",
          "Basket")  # fmt: skip
_MAKES = ("Oak", "Brass", "Felt", "Linen", "Slate", "Copper", "Willow", "Enamel")


class Writer:
    """Words for one page; what it writes depends on the seed alone."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def pick(self, *choices: str) -> str:
        """One of the choices."""
        return choices[int(self._random.random() * len(choices))]

    def number(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self._random.random() * (high - low + 1))

    def person(self) -> str:
        """A name with a surname."""
        return f"{self.pick(*_GIVEN)} {self.pick(*STEMS)}{self.pick('by', 'son', 'worth', 'low')}"

    def product(self) -> str:
        """Something that a shop sells."""
        return f"{self.pick(*_MAKES)} {self.pick(*_GOODS)}"

    def headline(self) -> str:
        """A news headline."""
        return (f"{self.pick(*STEMS)} {self.pick(*_PEOPLE)} "
                f"{self.pick('want', 'lose', 'find', 'sell', 'defend', 'share')} "
                f"{self.pick(*_ADJECTIVES)} {self.pick(*_NOUNS)}")  # fmt: skip

    def sentence(self, topic: str) -> str:
        """A sentence, most often about the topic."""
        noun, other = self.pick(*_NOUNS), self.pick(*_NOUNS)
        form = self.number(0, 6)
        if form == 0:
            return f"The {self.pick(*_ADJECTIVES)} {noun} near {topic} was {self.pick(*_DID)} {self.pick(*_WHEN)}."
        if form == 1:
            return f"{self.pick(*_PEOPLE).capitalize()} {self.pick(*_DID)} the {noun} {self.pick(*_WHY)}."
        if form == 2:
            return f"{topic} has {self.number(2, 90)} {self.pick(*_PEOPLE)} and a {self.pick(*_ADJECTIVES)} {noun}."
        if form == 3:
            return f"In {self.number(1702, 1989)} {self.person()} {self.pick(*_DID)} both the {noun} and the {other}."
        if form == 4:
            return f"Nobody remembers why the {noun} stands {self.number(3, 900)} metres from the {other}."
        if form == 5:
            return f"According to {self.person()}, {topic} owes its name to a {self.pick(*_ADJECTIVES)} {noun}."
        return f"The {self.pick(*_PEOPLE)} of {topic} {self.pick(*_DID)} it {self.pick(*_WHEN)}, {self.pick(*_WHY)}."

    def paragraph(self, topic: str, sentences: int = 4) -> str:
        """Sentences about the topic."""
        return " ".join(self.sentence(topic) for _ in range(sentences))


def slug(text: str) -> str:
    """The text as a path segment of lower-case words: `Brass Teapot` is `brass-teapot`."""
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
