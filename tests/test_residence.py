"""What stays in a process: who is closed, who rests, who is awake."""

from grao_pipeline.residence import Residence, Resident


class Logged(Resident):
    """Tells what happens to it."""

    def __init__(self, can_rest: bool = True) -> None:
        self.can_rest = can_rest
        self.log: list[str] = []

    def rest(self) -> bool:
        self.log.append("rest")
        return self.can_rest

    def wake(self) -> None:
        self.log.append("wake")

    def close(self) -> None:
        self.log.append("close")


def test_a_process_that_is_no_residence_closes_what_is_left() -> None:
    residence, model = Residence(), Logged()
    residence.leave("model", model)
    assert model.log == ["close"]
    assert residence.take("model") is None


def test_a_resident_is_taken_awake_while_the_others_rest() -> None:
    residence, first, second, restless = Residence(), Logged(), Logged(), Logged(can_rest=False)
    residence.open()
    for name, resident in (("first", first), ("second", second), ("restless", restless)):
        residence.leave(name, resident)
    assert residence.take("first") is first
    assert (first.log, second.log) == (["wake"], ["rest"])
    assert restless.log == ["rest", "close"]  # it cannot make room, so it goes
    assert residence.take("restless") is None
    assert residence.take("first") is None  # whoever took it has it alone
    residence.close()
    assert second.log[-1] == "close"
    assert "close" not in first.log


def test_of_two_residents_of_one_name_the_later_one_stays() -> None:
    residence, first, second = Residence(), Logged(), Logged()
    residence.open()
    residence.leave("model", first)
    residence.leave("model", second)
    assert first.log == ["close"]
    assert residence.take("model") is second
