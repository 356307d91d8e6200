"""Our HTTP routes."""

from collections.abc import Callable

from aiohttp import web
from server import PromptServer

from .folders import list_dataset_folders


def register(extensions: Callable[[], frozenset[str]]) -> None:
    """Add ``GET /glitch_lora/datasets``: the dataset folders there are now, as a JSON list of names.

    extensions: gives those of the files that make a folder a dataset. Does nothing when no server is running.
    """
    server = getattr(PromptServer, "instance", None)
    if server is None:
        return

    @server.routes.get("/glitch_lora/datasets")
    async def datasets(request: web.Request) -> web.Response:
        return web.json_response(list_dataset_folders(extensions()))
