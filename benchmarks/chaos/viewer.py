"""All that `grao view` answers about a path, asked without a socket."""

from typing import Any

from starlette.testclient import TestClient

from grao_pipeline.errors import GraoError
from grao_pipeline.view.app import ViewApp
from grao_pipeline.view.catalog import Catalog
from grao_pipeline.view.options import ViewOptions

ORDERS = ("", "spread", "best")


def look_at_all(path: str, **tables: list[str]) -> list[object]:
    """Every answer: the sets, their rows in several orders, and every group.

    Raises:
        GraoError: there is nothing to show, or something of it cannot be shown.
        Exception: whatever an answer does not catch.
    """
    app = ViewApp(Catalog(path, ViewOptions.model_validate(tables)), "token", "localhost", "cookie").app
    client = TestClient(app, base_url="http://localhost")
    client.get("/?token=token")

    def ask(what: str, **query: str | int) -> Any:
        answer = client.get(f"/api/{what}", params=query)
        value = answer.json()
        if answer.status_code != 200:
            raise GraoError(value["error"])
        return value

    catalog = ask("sets")
    answers: list[object] = [catalog]
    for one in catalog["sets"]:
        reward = (one["rewards"] or [""])[0]
        answers += [ask("page", set=one["key"], sort=order, reward=reward) for order in ORDERS]
        answers += [ask("group", set=one["key"], at=position) for position in range(one["total"])]
    if catalog["problems"]:
        raise GraoError(" ".join(catalog["problems"]))
    return answers
