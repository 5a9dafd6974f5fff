"""What `grao view` answers: the page, its files and groups; to those who know the token, at names of this machine."""

import math
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from grao_pipeline.errors import GraoError
from grao_pipeline.report.page import asset
from grao_pipeline.report.samples import OpenSet, read_groups, set_record
from grao_pipeline.view.catalog import Catalog
from grao_pipeline.view.queries import Query, Scans
from grao_pipeline.view.rows import list_rows

Json = dict[str, Any]
MOST_ROWS = 500
"""Rows of one answer."""
PATIENCE = 0.2
"""Seconds that an answer waits for a scan that would end soon."""
FILES = ("dom", "list", "group_view", "browser", "server_source", "view_page")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
SORTS = ("", "spread", "best", "worst")


class ViewApp:
    """The application.

    Args:
        token: who has it in the address once gets a cookie with it.
        host: the name or address that it listens at; requests for other hosts are refused.
        cookie: name of the cookie. Cookies do not tell ports apart, so that it has to.
    """

    def __init__(self, catalog: Catalog, token: str, host: str, cookie: str) -> None:
        self._catalog = catalog
        self._token = token
        self._cookie = cookie
        self._scans = Scans()
        routes = [
            Route("/", self._page),
            Route("/assets/{name:path}", self._file),
            Route("/api/sets", self._sets),
            Route("/api/page", self._rows),
            Route("/api/group", self._group),
            Route("/api/counterpart", self._counterpart),
        ]
        hosts = sorted({"127.0.0.1", "localhost", host})
        self.app = Starlette(
            routes=routes,
            middleware=[
                Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
                Middleware(BaseHTTPMiddleware, dispatch=self._guard),
            ],
            exception_handlers={GraoError: self._failed},
        )

    async def _guard(self, request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        """The token first, then the answer, with headers that let the page do nothing but its work."""
        response: Response
        given = request.query_params.get("token")
        if request.url.path == "/" and given is not None and self._is_token(given):
            response = RedirectResponse("/", 303)
            response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
        elif not self._is_token(request.cookies.get(self._cookie, "")):
            response = PlainTextResponse("Open the address that grao view printed: it holds a token.", 403)
        else:
            response = await answer(request)
        response.headers.update(HEADERS)
        return response

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self._token.encode())

    def _failed(self, request: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, 500)

    def _page(self, request: Request) -> Response:
        return HTMLResponse(asset("view.html"))

    def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name == "style.css":
            return Response(asset(name), media_type="text/css")
        if name == "vendor/diff.min.js" or name in {f"{file}.js" for file in FILES}:
            return Response(asset(name), media_type="text/javascript")
        raise HTTPException(404)

    def _sets(self, request: Request) -> Response:
        sets = [set_record(tables) for tables in self._catalog.sets()]
        return JSONResponse({"sets": sets, "problems": self._catalog.problems})

    def _rows(self, request: Request) -> Response:
        tables = self._tables(request)
        values = request.query_params
        query = Query(
            values.get("sort", ""),
            values.get("text", ""),
            values.get("reward", ""),
            values.get("status", ""),
            _bound(values.get("low")),
            _bound(values.get("high")),
        )
        if query.sort not in SORTS:
            raise HTTPException(400, "Unknown order.")
        offset, limit = _whole(values.get("offset", "0")), min(_whole(values.get("limit", "100")), MOST_ROWS)
        total = tables.groups.num_rows
        if query.takes_all:
            matched, scanned, positions = total, 1.0, list(range(offset, min(offset + limit, total)))
        else:
            scan = self._scans.of(tables, query)
            scan.wait(PATIENCE)
            matched, scanned, positions = scan.hits(offset, limit)
            if scan.problem:
                return JSONResponse({"error": scan.problem}, 500)
        rows = list_rows(tables, positions, query.reward)
        return JSONResponse({"total": total, "matched": matched, "scanned": scanned, "rows": rows})

    def _group(self, request: Request) -> Response:
        position = _whole(request.query_params.get("at", ""))
        groups = read_groups(self._tables(request), position, position + 1)
        return JSONResponse(groups[0] if groups else None)

    def _counterpart(self, request: Request) -> Response:
        """The group of a prompt: first where it lies in the other table, then anywhere."""
        tables = self._tables(request)
        prompt = request.query_params.get("prompt", "")
        near = read_groups(tables, *(_whole(request.query_params.get("at", "")) + step for step in (0, 1)))
        if near and near[0]["prompt_id"] == prompt:
            return JSONResponse(near[0])
        for part in range(len(tables.groups.parts)):
            prompts = tables.groups.part(part, ["prompt_id"]).column(0).to_pylist()
            if prompt in prompts:
                position = tables.groups.starts_at(part) + prompts.index(prompt)
                return JSONResponse(read_groups(tables, position, position + 1)[0])
        return JSONResponse(None)

    def _tables(self, request: Request) -> OpenSet:
        tables = self._catalog.set_named(request.query_params.get("set", ""))
        if tables is None:
            raise HTTPException(404, "There are no such groups.")
        return tables


def _whole(text: str) -> int:
    if not text.isdecimal() or len(text) > 12:
        raise HTTPException(400, "Expected a whole number.")
    return int(text)


def _bound(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise HTTPException(400, "Expected a number.")
    return value
