"""Swagger UI from the package itself: no page of it loads anything from an outside address.

`swagger_ui/` holds the files of swagger-ui-dist 5.35.0 that the page needs (Apache-2.0, LICENSE
and NOTICE beside them), and our own index.html and swagger-initializer.js.
"""

from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse, RedirectResponse, Response

from waybill.commerce.http.problem import Problem
from waybill.commerce.http.surface import refuses

_DIRECTORY = Path(__file__).parent / "swagger_ui"
_MEDIA_TYPES = {
    "index.html": "text/html",
    "swagger-initializer.js": "text/javascript",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-16x16.png": "image/png",
    "favicon-32x32.png": "image/png",
}
_HEADERS = {
    # The page itself, its files, and calls to this very service. Its widgets set inline styles.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cache-Control": "no-cache",
}


def router() -> APIRouter:
    """The documented address, which redirects, and the files."""
    routes = APIRouter(tags=["documentation"])

    @routes.get(
        "/swagger-ui.html",
        operation_id="getSwaggerUi",
        summary="To the interactive documentation",
        status_code=302,
        response_class=RedirectResponse,
        response_description="To /swagger-ui/index.html",
    )
    async def redirect() -> Response:
        return RedirectResponse("/swagger-ui/index.html", status_code=302)

    files: dict[str, Any] = {media: {"schema": {}} for media in set(_MEDIA_TYPES.values())}

    @routes.get(
        "/swagger-ui/{file}",
        operation_id="getSwaggerUiFile",
        summary="A file of the interactive documentation",
        response_class=Response,
        responses={
            200: {"description": "The file", "content": files},
            **refuses(_404="There is no such file"),
        },
    )
    async def get_file(file: str) -> Response:
        media_type = _MEDIA_TYPES.get(file)
        if media_type is None:
            raise Problem(404, "not_found", "There is nothing at this address")
        return FileResponse(_DIRECTORY / file, media_type=media_type, headers=_HEADERS)

    return routes
