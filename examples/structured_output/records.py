"""The records: their kinds and forms, values drawn at random, and the messages that people would write about them.

A message has a greeting, a core with every value of the record, often a correction of one of them, and a remark that
does not matter. Two kinds of record are never trained on.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

WORDS = """
names: Ada Boris Chen Dana Emil Fatima Goran Hilda Ivan Joy Kofi Lena Marco Nadia Omar Petra Quinn Rosa Sven Tara
cities: Athens Berlin Cairo Dublin Essen Florence Ghent Helsinki Izmir Jaipur Kyoto Lima Madrid Nairobi Oslo
products: lamp chair kettle blanket clock mirror basket ladder teapot bench pillow vase
devices: printer heater fridge projector router oven scanner elevator
days: Monday Tuesday Wednesday Thursday Friday
things: umbrella scarf backpack wallet guitar hat
colors: red green black yellow gray purple
"""
NAMES, CITIES, PRODUCTS, DEVICES, DAYS, THINGS, COLORS = (
    line.partition(": ")[2].split() for line in WORDS.strip().splitlines()
)
PROBLEMS = ("makes a loud noise", "does not start", "leaks water", "smells burnt", "stops after a minute")
TOPICS = ("the budget", "the new website", "her contract", "the summer party", "the audit", "a tax question")
GREETINGS = ("Hi!", "Hello there,", "Good morning.", "Hey,", "To the team:", "")
REMARKS = (
    "Thanks a lot!",
    "The weather is awful today, by the way.",
    "Please be quick, my sister is waiting.",
    "Sorry for the bother.",
    "I already called twice this week.",
    "",
)

Record = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of record.

    Attributes:
        form: an example of the record, as the prompt shows it.
        draw: → a record, the sentence that says it, and a correction: (record with the value before, sentence), or None
            for a message that corrects nothing. The sentence says the value before where there is a correction.
    """

    name: str
    form: Record
    draw: Callable[[random.Random], tuple[Record, str]]


def _order(rng: random.Random) -> tuple[Record, str]:
    name, city = rng.choice(NAMES), rng.choice(CITIES)
    products = rng.sample(PRODUCTS, rng.choice((1, 2)))
    counts = [rng.randint(2, 9) for _ in products]
    said = " and ".join(f"{count} {product}s" for count, product in zip(counts, products, strict=True))
    text = rng.choice(
        (
            f"{name} from {city} here. I would like {said}.",
            f"Please send {said} to {city}. My name is {name}.",
            f"We need {said}. Bill it to {name}, {city}.",
        )
    )
    if rng.random() < CORRECTED:
        counts[0] += 1
        text += rng.choice(
            (f" No wait, {counts[0]} {products[0]}s.", f" Make that {counts[0]} {products[0]}s, please.")
        )
    items = [{"product": product, "count": count} for product, count in zip(products, counts, strict=True)]
    return {"kind": "order", "customer": {"name": name, "city": city}, "items": items}, text


def _appointment(rng: random.Random) -> tuple[Record, str]:
    name, topic, day = rng.choice(NAMES), rng.choice(TOPICS), rng.choice(DAYS)
    time = f"{rng.randint(8, 17)}:{rng.choice(('00', '15', '30', '45'))}"
    text = rng.choice(
        (
            f"{name} wants to talk about {topic} on {day} at {time}.",
            f"Could you see {name} at {time} on {day}? It is about {topic}.",
            f"On {day} I have time for {name}, say {time}. We must discuss {topic}.",
        )
    )
    if rng.random() < CORRECTED:
        day = rng.choice([other for other in DAYS if other != day])
        text += rng.choice((f" Oh, {day} is better than that.", f" Sorry, I meant {day}."))
    return {"kind": "appointment", "person": name, "topic": topic, "when": {"day": day, "time": time}}, text


def _repair(rng: random.Random) -> tuple[Record, str]:
    device, problem, name = rng.choice(DEVICES), rng.choice(PROBLEMS), rng.choice(NAMES)
    room, phone = rng.randint(100, 399), rng.randint(2000, 9999)
    text = rng.choice(
        (
            f"The {device} in room {room} {problem}. Ask for {name}, extension {phone}.",
            f"{name} again, extension {phone}. Our {device} {problem}! Room {room}.",
            f"In room {room} the {device} {problem}, says {name} (extension {phone}).",
        )
    )
    if rng.random() < CORRECTED:
        room += 1
        text += rng.choice((f" No, that is room {room}.", f" Correction: it is room {room}."))
    contact = {"name": name, "extension": phone}
    return {"kind": "repair", "device": device, "room": room, "problem": problem, "contact": contact}, text


def _parcel(rng: random.Random) -> tuple[Record, str]:
    sender, receiver = rng.sample(NAMES, 2)
    start, end = rng.sample(CITIES, 2)
    weight = rng.randint(2, 30)
    text = rng.choice(
        (
            f"A parcel of {weight} kg goes from {sender} in {start} to {receiver} in {end}.",
            f"{receiver} in {end} gets {weight} kg from {sender}, who lives in {start}.",
            f"Pick up {weight} kg at {sender}'s in {start} and bring it to {receiver}, {end}.",
        )
    )
    if rng.random() < CORRECTED:
        end = rng.choice([city for city in CITIES if city not in (start, end)])
        text += rng.choice((f" {receiver} moved to {end}, so send it there.", f" Careful, not there: to {end}."))
    return {
        "kind": "parcel",
        "sender": {"name": sender, "city": start},
        "receiver": {"name": receiver, "city": end},
        "weight": weight,
    }, text


def _booking(rng: random.Random) -> tuple[Record, str]:
    name, city, day = rng.choice(NAMES), rng.choice(CITIES), rng.choice(DAYS)
    nights = rng.randint(2, 9)
    text = rng.choice(
        (
            f"{name} from {city} books a room for {nights} nights from {day}.",
            f"From {day} on we need a room for {nights} nights. The guest is {name}, from {city}.",
        )
    )
    if rng.random() < CORRECTED:
        nights += 1
        text += f" Make it {nights} nights."
    return {"kind": "booking", "guest": {"name": name, "city": city}, "stay": {"from": day, "nights": nights}}, text


def _lost(rng: random.Random) -> tuple[Record, str]:
    thing, color, city = rng.choice(THINGS), rng.choice(COLORS), rng.choice(CITIES)
    name, phone = rng.choice(NAMES), rng.randint(2000, 9999)
    text = rng.choice(
        (
            f"{name} lost a {color} {thing} on the train to {city}. Extension {phone}.",
            f"Who found my {thing}? It is {color}. I left it on the train to {city}. {name}, extension {phone}.",
        )
    )
    if rng.random() < CORRECTED:
        color = rng.choice([other for other in COLORS if other != color])
        text += f" Well, it is more {color}, really."
    object_ = {"thing": thing, "color": color}
    return {"kind": "lost", "object": object_, "train": city, "owner": {"name": name, "extension": phone}}, text


CORRECTED = 0.4
"""Probability that a message corrects a value that it said before."""
TRAINED = (
    Kind(
        "order", {"kind": "order", "customer": {"name": "", "city": ""}, "items": [{"product": "", "count": 0}]}, _order
    ),
    Kind(
        "appointment", {"kind": "appointment", "person": "", "topic": "", "when": {"day": "", "time": ""}}, _appointment
    ),
    Kind(
        "repair",
        {"kind": "repair", "device": "", "room": 0, "problem": "", "contact": {"name": "", "extension": 0}},
        _repair,
    ),
    Kind(
        "parcel",
        {"kind": "parcel", "sender": {"name": "", "city": ""}, "receiver": {"name": "", "city": ""}, "weight": 0},
        _parcel,
    ),
)
NEVER_TRAINED = (
    Kind(
        "booking", {"kind": "booking", "guest": {"name": "", "city": ""}, "stay": {"from": "", "nights": 0}}, _booking
    ),
    Kind(
        "lost",
        {"kind": "lost", "object": {"thing": "", "color": ""}, "train": "", "owner": {"name": "", "extension": 0}},
        _lost,
    ),
)


def draw_message(kind: Kind, rng: random.Random) -> tuple[Record, str]:
    """A record of this kind, and a message that says it."""
    record, core = kind.draw(rng)
    return record, " ".join(part for part in (rng.choice(GREETINGS), core, rng.choice(REMARKS)) if part)
