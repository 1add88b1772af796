"""The scenarios of one-step word problems and their wordings.

A scenario is a relation between two numbers {x} and {y} of the text and the answer {z}. A wording
is an opening, an event and a question. A closing states the answer, for the pretraining corpus,
which must not contain questions.

Slots: {n} {m} two names, {he} {He} {his} the first person's pronouns, {o} an object in the plural,
{c} containers, {p} people, {place}, {day}, {adj}.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    """A relation `x operation y = z` and its wordings."""

    name: str
    operation: str
    openings: tuple[str, ...]
    events: tuple[str, ...]
    questions: tuple[str, ...]
    closings: tuple[str, ...]

    @property
    def wordings(self) -> list[tuple[int, int, int]]:
        """All combinations of an opening, an event and a question, by their positions."""
        openings, events = range(len(self.openings)), range(len(self.events))
        return list(itertools.product(openings, events, range(len(self.questions))))


HAS_NOW = (
    "How many {o} does {n} have now?",
    "How many {o} does {n} have at the end?",
    "How many {o} does {n} have after that?",
    "What is the number of {o} that {n} has now?",
    "{n} wants to know how many {o} {he} has now. How many are there?",
)
NOW = ("{n} has {z} {o} now.", "Now there are {z} {o}.", "{He} has {z} {o} at the end.")

GAINS = (
    "{He} buys {y} more.",
    "{m} gives {n} {y} more.",
    "Then {n} finds {y} more {o}.",
    "On {day} {he} gets {y} more {o} from {m}.",
    "At the {place} {he} picks up {y} more.",
    "{He} receives {y} more {o} in the mail.",
)
LOSSES = (
    "{He} gives {y} of them to {m}.",
    "Then {n} loses {y} of them.",
    "{He} sells {y} {o} at the {place}.",
    "On {day} {n} gives away {y} {o}.",
    "{m} takes {y} of the {o} home.",
    "{n} throws away {y} of them.",
)
HAS = (
    "{n} has {x} {o}.",
    "{n} starts with {x} {o}.",
    "{n} keeps {x} {o} at the {place}.",
    "{n} counts {x} {o} in {his} bag.",
    "On {day} {n} has {x} {o}.",
    "{n} owns {x} {adj} {o}.",
)
TWO_HAVE = (
    "{n} has {x} {o}.",
    "{n} brings {x} {o} to the {place}.",
    "There are {x} {o} in the room of {n}.",
    "{n} packs {x} {adj} {o}.",
    "On {day} {n} counts {x} {o}.",
)

OTHER_HAS = (
    "How many {o} does {m} have?",
    "What is the number of {o} that {m} has?",
    "How many {o} belong to {m}?",
    "Find out how many {o} {m} has. How many are there?",
)
OTHER_HAS_NOW = ("{m} has {z} {o}.", "So {z} {o} belong to {m}.")

SCENARIOS = (
    Scenario("gain", "+", HAS, GAINS, HAS_NOW, NOW),
    Scenario(
        "combine",
        "+",
        TWO_HAVE,
        (
            "{m} has {y} {o}.",
            "{m} brings {y} {o} as well.",
            "{m} adds {y} of {his_m} own.",
            "A friend called {m} comes with {y} {o}.",
            "In the next room {m} keeps {y} {o}.",
        ),
        (
            "How many {o} do they have together?",
            "How many {o} do {n} and {m} have in all?",
            "What is the total number of {o}?",
            "How many {o} are there altogether?",
        ),
        ("Together they have {z} {o}.", "In all there are {z} {o}."),
    ),
    Scenario(
        "more_than",
        "+",
        TWO_HAVE,
        (
            "{m} has {y} more {o} than {n}.",
            "{m} has {y} more than {n} has.",
            "The number of {o} that {m} has is larger by {y}.",
            "{n} has {y} fewer {o} than {m}.",
        ),
        OTHER_HAS,
        OTHER_HAS_NOW,
    ),
    Scenario(
        "start_before_loss",
        "+",
        (
            "{n} has some {o}.",
            "{n} keeps some {o} at the {place}.",
            "There are some {adj} {o} in the bag of {n}.",
            "On {day} {n} brings some {o} to the {place}.",
        ),
        (
            "{He} gives {x} of them to {m} and has {y} left.",
            "{He} sells {x} {o} and {y} are left.",
            "After {he} loses {x} of them, {y} remain.",
            "{m} takes {x} of the {o} and leaves {y}.",
        ),
        (
            "How many {o} did {n} have at first?",
            "How many {o} were there in the beginning?",
            "What was the number of {o} at the start?",
            "How many {o} did {n} have before that?",
        ),
        ("At first {n} had {z} {o}.", "There were {z} {o} in the beginning."),
    ),
    Scenario("loss", "-", HAS, LOSSES, (*HAS_NOW, "How many {o} are left?"), NOW),
    Scenario(
        "difference",
        "-",
        TWO_HAVE,
        (
            "{m} has {y} {o}.",
            "{m} brings {y} {o}.",
            "{m} has only {y} of them.",
            "A friend called {m} owns {y} {o}.",
        ),
        (
            "How many more {o} does {n} have than {m}?",
            "How many fewer {o} does {m} have than {n}?",
            "By how many {o} is {n} ahead of {m}?",
            "What is the difference between their numbers of {o}?",
        ),
        ("{n} has {z} more {o} than {m}.", "The difference is {z} {o}."),
    ),
    Scenario(
        "fewer_than",
        "-",
        TWO_HAVE,
        (
            "{m} has {y} fewer {o} than {n}.",
            "{m} has {y} fewer than {n} has.",
            "The number of {o} that {m} has is smaller by {y}.",
            "{n} has {y} more {o} than {m}.",
        ),
        OTHER_HAS[:3],
        OTHER_HAS_NOW,
    ),
    Scenario(
        "change_by_gain",
        "-",
        (
            "{n} has {y} {o}.",
            "{n} starts with {y} {o}.",
            "On {day} {n} has {y} {adj} {o}.",
            "{n} brings {y} {o} to the {place}.",
        ),
        (
            "{He} buys some more and then has {x}.",
            "{m} gives {n} some more, and now {he} has {x}.",
            "After {he} finds some more, there are {x}.",
            "A day later {n} has {x} {o}.",
        ),
        (
            "How many {o} did {n} get?",
            "How many {o} were added?",
            "How many more {o} does {n} have than before?",
        ),
        ("{n} got {z} more {o}.", "So {z} {o} were added."),
    ),
    Scenario(
        "change_by_loss",
        "-",
        HAS,
        (
            "{He} gives some of them to {m} and has {y} left.",
            "{He} sells some, and {y} are left.",
            "After {m} takes some of them, {y} remain.",
            "A day later only {y} of them are there.",
        ),
        (
            "How many {o} are gone?",
            "How many {o} did {n} part with?",
            "How many {o} does {n} no longer have?",
        ),
        ("So {z} {o} are gone.", "{n} no longer has {z} of the {o}."),
    ),
    Scenario(
        "part",
        "-",
        (
            "There are {x} {o} at the {place}.",
            "{n} has {x} {o}.",
            "{n} sorts {x} {o} on {day}.",
            "{n} and {m} find {x} {o}.",
        ),
        (
            "Of these, {y} are {adj}.",
            "{y} of them are {adj}.",
            "{m} sees that {y} of them are {adj}.",
        ),
        (
            "How many {o} are not {adj}?",
            "How many of the {o} are of another kind?",
            "How many {o} are there that are not {adj}?",
        ),
        ("{z} of the {o} are not {adj}.", "So {z} {o} are of another kind."),
    ),
    Scenario(
        "groups",
        "*",
        (
            "{n} has {x} {c}.",
            "There are {x} {c} at the {place}.",
            "{n} fills {x} {c} on {day}.",
            "{n} and {m} carry {x} {c} to the {place}.",
        ),
        (
            "There are {y} {o} in each of them.",
            "Each one holds {y} {o}.",
            "{m} puts {y} {o} into each.",
            "In every one of them there are {y} {adj} {o}.",
        ),
        (
            "How many {o} are there in all?",
            "How many {o} are there altogether?",
            "What is the total number of {o}?",
            "How many {o} do the {c} hold together?",
        ),
        ("In all there are {z} {o}.", "The {c} hold {z} {o} together."),
    ),
    Scenario(
        "price",
        "*",
        (
            "{n} buys {x} {o}.",
            "{n} needs {x} {o} for {m}.",
            "At the {place} {n} orders {x} {o}.",
            "On {day} {n} chooses {x} {adj} {o}.",
        ),
        (
            "Each one costs {y} dollars.",
            "The price is {y} dollars for each of them.",
            "{He} pays {y} dollars for each.",
            "Each of the {o} sells for {y} dollars.",
        ),
        (
            "How much does {n} pay?",
            "How many dollars does {n} spend?",
            "What do the {o} cost in all?",
            "How many dollars are that in total?",
        ),
        ("{n} pays {z} dollars.", "The {o} cost {z} dollars in all."),
    ),
    Scenario(
        "times_as_many",
        "*",
        TWO_HAVE,
        (
            "{m} has {y} times as many {o}.",
            "{m} has {y} times as many as {n}.",
            "The number of {o} that {m} has is {y} times as large.",
        ),
        OTHER_HAS,
        OTHER_HAS_NOW,
    ),
    Scenario(
        "rate",
        "*",
        (
            "{n} makes {x} {o} every day.",
            "Every day {n} sells {x} {o}.",
            "{n} packs {x} {o} a day at the {place}.",
            "{n} finishes {x} {o} a day.",
        ),
        (
            "{He} goes on for {y} days.",
            "This goes on for {y} days.",
            "It is the same on {y} days.",
        ),
        (
            "How many {o} are that in all?",
            "What is the total number of {o}?",
            "How many {o} are there over that time?",
        ),
        ("In that time there are {z} {o}.", "That makes {z} {o} in all."),
    ),
    Scenario(
        "share",
        "/",
        (
            "{n} has {x} {o}.",
            "There are {x} {o} at the {place}.",
            "{n} brings {x} {adj} {o}.",
            "On {day} {n} counts {x} {o}.",
        ),
        (
            "They are shared equally among {y} {p}.",
            "{n} divides them equally among {y} {p}.",
            "{m} deals them out to {y} {p}, the same number to each.",
            "The {y} {p} of {n} each get the same number of them.",
        ),
        (
            "How many {o} does each of the {p} get?",
            "How many {o} are there for each of the {p}?",
            "What is the share of each?",
        ),
        ("Each of the {p} gets {z} {o}.", "The share of each is {z} {o}."),
    ),
    Scenario(
        "pack",
        "/",
        (
            "{n} has {x} {o}.",
            "{n} and {m} pack {x} {o}.",
            "There are {x} {adj} {o} to be packed at the {place}.",
            "On {day} {n} sorts {x} {o} into {c}.",
        ),
        (
            "{y} of them go into each of the {c}.",
            "{n} puts {y} into each of the {c}.",
            "The {c} hold {y} {o} each.",
        ),
        (
            "How many {c} are needed?",
            "How many {c} does {n} fill?",
            "What is the number of {c} that get full?",
        ),
        ("{n} fills {z} {c}.", "So {z} {c} are needed."),
    ),
    Scenario(
        "unit_price",
        "/",
        (
            "{n} pays {x} dollars at the {place}.",
            "{n} spends {x} dollars on {day}.",
            "{m} asks {n} for {x} dollars.",
            "The bill of {n} comes to {x} dollars.",
        ),
        (
            "It is for {y} {o} of the same price.",
            "For that {he} gets {y} {o}, all at one price.",
            "This buys {y} {adj} {o}.",
        ),
        (
            "How much does each of the {o} cost?",
            "What is the price of one of the {o} in dollars?",
            "How many dollars is that for each?",
        ),
        ("Each of the {o} costs {z} dollars.", "One of them is {z} dollars."),
    ),
)

# Sentences with an irrelevant number {d}.
DISTRACTORS = (
    "{m} also has {d} {o2}.",
    "There are {d} {p} at the {place}.",
    "{n} is {d} years old.",
    "The way to the {place} takes {d} minutes.",
    "{n} also owns {d} {o2}.",
    "The house of {m} has {d} windows.",
    "{d} {o2} lie on the table.",
    "It is {d} days until {day}.",
)

# A quantity that is {x} at first and changes with each event.
CHAIN_OPENINGS = HAS
CHAIN_EVENTS = {
    "+": GAINS,
    "-": LOSSES,
    "*": (
        "Then {n} packs as many into each of {y} {c}.",
        "The number of {o} grows {y} times.",
    ),
    "/": (
        "They are put into {y} {c}, the same number into each, and one is kept.",
        "They are shared equally among {y} {p}, and {n} is one of them.",
    ),
}
CHAIN_QUESTIONS = (
    "How many {o} does {n} have at the end?",
    "How many {o} are there at the end?",
    "What is the number of {o} in the end?",
    "How many {o} is that after all?",
    "{n} counts the {o} at the end. How many are there?",
)
