"""Our HTTP routes."""

from collections.abc import Callable

from aiohttp import web
from server import PromptServer

from .folders import list_dataset_folders, new_input_name


def register(extensions: Callable[[], frozenset[str]]) -> None:
    """Add the routes of the front end's upload.

    ``GET /glitch_lora/datasets``: the dataset folders there are now, as a JSON list of names.
    ``GET /glitch_lora/new_dataset?name=cats``: a free name below input as JSON ``{"name": ...}``, and the
    ``"extensions"`` of files that are pictures.

    extensions: gives those of the files that make a folder a dataset. Does nothing when no server is running.
    """
    server = getattr(PromptServer, "instance", None)
    if server is None:
        return

    @server.routes.get("/glitch_lora/datasets")
    async def datasets(request: web.Request) -> web.Response:
        return web.json_response(list_dataset_folders(extensions()))

    @server.routes.get("/glitch_lora/new_dataset")
    async def new_dataset(request: web.Request) -> web.Response:
        name = new_input_name(request.query.get("name", ""))
        return web.json_response({"name": name, "extensions": sorted(extensions())})
