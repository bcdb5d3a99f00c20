"""``/openapi.json``, and ``/docs``: Swagger UI from the flask-swagger-ui package, without files from other hosts."""

from pathlib import Path

import flask_swagger_ui
from flask import Flask, Response, json, redirect, render_template, request, send_from_directory
from werkzeug import Response as BaseResponse

import settings

from .auth import public
from .openapi import RestApi, document

_SWAGGER_UI_DIST = Path(flask_swagger_ui.__file__).parent / "dist"

# Swagger UI needs inline styles, and data: images in its style sheet. Scripts come only from this origin.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'"
)
_START = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: %s,
});
"""


def init_app(app: Flask, rest: RestApi) -> None:
    """Serve the OpenAPI document of ``rest`` and Swagger UI. Call this after all routes are registered."""
    specification = json.dumps(document(rest), indent=2)

    if settings.WEB_URL:

        @app.get("/", strict_slashes=False)  # an absolute-form request may have no path: no redirect by its Host
        @public
        def pages() -> BaseResponse:
            """Lead to the storefront: a buyer whose checkout has no success_url may end here."""
            return redirect(f"{settings.WEB_URL}/")

    @app.get("/openapi.json")
    @public
    def openapi_json() -> BaseResponse:
        response = Response(specification, content_type="application/json")
        response.add_etag()
        return response.make_conditional(request)

    @app.get("/docs")
    @public
    def docs() -> BaseResponse:
        return _with_csp(Response(render_template("docs.html"), content_type="text/html; charset=utf-8"))

    # persistAuthorization stores the token in localStorage, where every script of this origin can read it.
    start = _START % ("false" if settings.ENVIRONMENT == "production" else "true")

    @app.get("/docs/start.js")
    @public
    def docs_start() -> BaseResponse:
        return _with_csp(Response(start, content_type="text/javascript; charset=utf-8"))

    @app.get("/docs/<path:name>")
    @public
    def docs_file(name: str) -> BaseResponse:
        return _with_csp(send_from_directory(_SWAGGER_UI_DIST, name))


def _with_csp(response: BaseResponse) -> BaseResponse:
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response
