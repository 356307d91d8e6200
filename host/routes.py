"""Our HTTP routes."""

from collections.abc import Callable

from aiohttp import web
from server import PromptServer

from .folders import claim_input_folder, list_dataset_folders


def register(extensions: Callable[[], frozenset[str]]) -> None:
    """Add the routes of the front end's upload.

    ``GET /glitch_lora/datasets``: the dataset folders there are now, as a JSON list of names.
    ``GET /glitch_lora/picture_extensions``: the extensions of files that are pictures, as a JSON list.
    ``POST /glitch_lora/new_dataset`` with JSON ``{"name": "cats"}``: makes an empty folder below input and answers
    with its name, ``{"name": "cats-2"}``; an empty folder is not listed as a dataset.

    extensions: gives those of the files that make a folder a dataset. Does nothing when no server is running.
    """
    server = getattr(PromptServer, "instance", None)
    if server is None:
        return

    @server.routes.get("/glitch_lora/datasets")
    async def datasets(request: web.Request) -> web.Response:
        return web.json_response(list_dataset_folders(extensions()))

    @server.routes.get("/glitch_lora/picture_extensions")
    async def picture_extensions(request: web.Request) -> web.Response:
        return web.json_response(sorted(extensions()))

    @server.routes.post("/glitch_lora/new_dataset")
    async def new_dataset(request: web.Request) -> web.Response:
        try:
            return web.json_response({"name": claim_input_folder(_wish(await request.json()))})
        except ValueError as error:
            return web.Response(status=400, text=str(error))
        except OSError as error:
            reason = f"no folder could be made in ComfyUI's input folder ({error.strerror}), make room or allow writing"
            return web.Response(status=507, text=reason)


def _wish(body: object) -> str:
    name = body.get("name") if isinstance(body, dict) else None
    if not isinstance(name, str):
        raise ValueError(f"name: got {body!r}, allowed is an object with a text called name, send one")
    return name
