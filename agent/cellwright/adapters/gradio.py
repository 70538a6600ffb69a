"""Endpoints of Gradio apps, Hugging Face Spaces among them, as tools: `await from_gradio(url, api_name="/predict")`.

The app is somebody else's, and so is the code that calls it, so files cross only as what they hold. A file argument is
a web address or base64, never a path of this machine; a file in the result is fetched from the app, and from nowhere
else, and returned as base64. A path that the app names is text and is not opened. No token is sent that was not given.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import mimetypes
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin

from ..errors import ToolCallError, ToolDefinitionError, nearest, one_line
from ..outputs import Json
from ..tools import Tool
from .gradio_schema import FILE, argument_schema, has_default, has_file, is_file_data, result_schema
from .schema_tool import SchemaTool, Tell

if TYPE_CHECKING:
    from gradio_client import Client

FILE_BYTES = 20_000_000
"""Of one file, either way."""
_POLL_SECONDS = 0.2
_CONNECT_SECONDS = 60.0


async def from_gradio(
    source: str | Client,
    api_name: str | None = None,
    *,
    name: str | None = None,
    description: str | None = None,
    token: str | None = None,
) -> Tool:
    """One endpoint of a Gradio app as a tool.

    source: address of an app, `owner/space`, or a `gradio_client.Client`. api_name: e.g. `/predict`; may be left out
    where there is one. token: of the Hugging Face Hub; the one saved on this machine is not used.
    Raises `ToolDefinitionError` where the app can't be reached or has no such endpoint.
    """
    try:
        client = await asyncio.wait_for(asyncio.to_thread(_connected, source, token), _CONNECT_SECONDS)
        endpoints = client.view_api(print_info=False, return_format="dict")["named_endpoints"]
    except ImportError:
        raise ToolDefinitionError('Gradio apps need: pip install "cellwright[gradio]"') from None
    except Exception as error:  # noqa: BLE001 - an app, and the client with it, may fail in any way
        said = "it did not answer in time" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
        where = source if isinstance(source, str) else source.src
        raise ToolDefinitionError(f"The Gradio app {where} can't be used: {one_line(said)}") from None
    api_name = _endpoint(endpoints, api_name)
    return _Endpoint(client, api_name, endpoints[api_name]).tool(name, description)


def _connected(source: str | Client, token: str | None) -> Client:
    """A client that leaves files where they are; blocks."""
    import jsonschema  # noqa: F401 - takes seconds the first time, and the tool that is made next needs it
    from gradio_client import Client

    apart: dict[str, Any] = {"verbose": False, "download_files": False, "analytics_enabled": False}
    if isinstance(source, str):
        # False, not None: with None the token saved on this machine would be sent to whatever app this is.
        return Client(source, token=token or False, **apart)
    if source.download_files is False:
        return source
    # A client that downloads gives paths as text, which can't be told from text that looks like a path.
    return Client(
        source.src,
        token=source.token or False,
        headers=source.headers,
        httpx_kwargs={**source.httpx_kwargs, "cookies": source.cookies},
        ssl_verify=source.ssl_verify,
        oauth_token=source.oauth_token,
        **apart,
    )


def _endpoint(endpoints: Mapping[str, Any], wanted: str | None) -> str:
    if wanted is None and len(endpoints) == 1:
        return next(iter(endpoints))
    names = ", ".join(endpoints) or "none"
    if wanted is None:
        raise ToolDefinitionError(f"The Gradio app has several endpoints; name one by api_name: {names}.")
    path = wanted if wanted.startswith("/") else f"/{wanted}"
    if path not in endpoints:
        raise ToolDefinitionError(f"The Gradio app has no endpoint {path}{nearest(path, endpoints)} It has: {names}.")
    return path


class _Endpoint:
    """One endpoint, and how its values cross."""

    def __init__(self, client: Client, api_name: str, about: Mapping[str, Any]) -> None:
        self.client = client
        self.api_name = api_name
        self.about = about
        self.parameters: Sequence[Mapping[str, Any]] = about["parameters"]
        self.schemas = {item["parameter_name"]: argument_schema(item) for item in self.parameters}

    def tool(self, name: str | None, description: str | None) -> Tool:
        required = [item["parameter_name"] for item in self.parameters if not has_default(item)]
        parameters = {"properties": self.schemas, "required": required, "additionalProperties": False}
        said = description or self.about.get("description") or f"{self.api_name} of the Gradio app {self.client.src}"
        returns = [result_schema(item) for item in self.about["returns"]]
        return SchemaTool(
            name or self.api_name.strip("/"),
            said,
            parameters,
            self.call,
            returns=returns[0] if len(returns) == 1 else {"type": "array", "prefixItems": returns},
        )

    async def call(self, arguments: dict[str, Json], tell: Tell) -> Json:
        """Call the endpoint. Raises `ToolCallError`, or what the client raises."""
        with tempfile.TemporaryDirectory(prefix="cellwright-gradio-") as folder:
            # All by position: an argument may be called `headers` or `api_name`, as the client's own are.
            given = [
                _to_app(arguments[name], schema, Path(folder)) if name in arguments else item["parameter_default"]
                for item, (name, schema) in zip(self.parameters, self.schemas.items(), strict=True)
            ]
            result = await self._submitted(given, tell)
        return await self._from_app(result)

    async def _submitted(self, given: Sequence[Json], tell: Tell) -> Any:
        job = await asyncio.to_thread(self.client.submit, *given, api_name=self.api_name)
        done = asyncio.wrap_future(job.future)
        told = ""
        try:
            while not (await asyncio.wait({done}, timeout=_POLL_SECONDS))[0]:
                if (text := _progress(job.status().progress_data)) not in ("", told):
                    told = text
                    await tell(text)
            return done.result()
        except asyncio.CancelledError:
            # Cancelling asks the app over the network; a stop does not wait for that.
            threading.Thread(target=_cancelled, args=(job,), daemon=True).start()
            raise

    async def _from_app(self, value: Any) -> Json:
        """`value` with its files fetched."""
        if is_file_data(value):
            return await self._fetched(value)
        if isinstance(value, Mapping) and value.get("__type__") == "update":
            return await self._from_app(value.get("value"))
        if isinstance(value, Mapping):
            return {key: await self._from_app(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [await self._from_app(item) for item in value]
        return value

    async def _fetched(self, file: Mapping[str, Any]) -> Json:
        """A file of the app as base64. Only its path is used: an address that the app names may lead anywhere."""
        import httpx

        path = str(file.get("path") or "")
        if path.startswith(("http://", "https://")):
            return {"type": "link", "uri": path}
        client, found = self.client, bytearray()
        address = urljoin(client.src_prefixed, "file=" + quote(path))
        async with (
            httpx.AsyncClient(headers=client.headers, cookies=client.cookies, verify=client.ssl_verify) as http,
            http.stream("GET", address, timeout=60.0) as response,
        ):
            if response.status_code != 200:
                raise ToolCallError(f"the file {one_line(path, 100)} can't be had: status {response.status_code}")
            async for chunk in response.aiter_bytes():
                found += chunk
                if len(found) > FILE_BYTES:
                    raise ToolCallError(f"the file {one_line(path, 100)} is larger than {FILE_BYTES:,} bytes")
        name = PurePosixPath(str(file.get("orig_name") or path)).name
        mime = file.get("mime_type") or mimetypes.guess_type(name)[0] or "application/octet-stream"
        return {"type": "file", "name": name, "mime": mime, "base64": base64.b64encode(found).decode()}


def _cancelled(job: Any) -> None:
    with contextlib.suppress(Exception):  # the app may be gone, and nobody waits for it any more
        job.cancel()


def _progress(units: Iterable[Any] | None) -> str:
    """`loading (3 of 10)`."""
    unit = next(iter(units or ()), None)
    if unit is None:
        return ""
    share = f"{unit.index or 0:g}" + (f" of {unit.length:g}" if unit.length else "")
    return f"{unit.desc} ({share})" if unit.desc else share


# ---- values to the app -----------------------------------------------------------------------------------------------


def _to_app(value: Json, schema: Json, folder: Path) -> Json:
    """`value` with its files as the client takes them. Raises `ToolCallError` for a file of this machine."""
    if schema == FILE and value is not None:
        return _file(value, folder)
    if is_file_data(value):
        raise ToolCallError("an argument names a file of this machine, which is not sent; give a web address or base64")
    if isinstance(value, list):
        inner = schema.get("items") if isinstance(schema, Mapping) else None
        return [_to_app(item, inner, folder) for item in value]
    if isinstance(value, Mapping):
        inner = schema.get("properties", {}) if isinstance(schema, Mapping) else {}
        return {key: _to_app(item, inner.get(key), folder) for key, item in value.items()}
    if isinstance(schema, Mapping) and has_file(schema.get("anyOf")) and value is not None:
        return _file(value, folder)
    return value


def _file(value: Json, folder: Path) -> Json:
    """A file argument: a web address that the app fetches, or what the file holds, put into `folder` to be sent."""
    from gradio_client import handle_file

    name, encoded = "file", ""
    if isinstance(value, Mapping):
        encoded = str(value.get("base64") or "")
        name = PurePosixPath(str(value.get("name") or "")).name or _name_for(value.get("mime"))
    elif str(value).startswith(("http://", "https://")):
        return handle_file(str(value))
    elif str(value).startswith("data:") and ";base64," in str(value):
        head, _, encoded = str(value).partition(";base64,")
        name = _name_for(head.removeprefix("data:").split(";")[0])
    else:
        raise ToolCallError(f"a file is given as a web address or as base64, not as {one_line(str(value), 60)!r}")
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise ToolCallError("a file's base64 can't be read") from None
    if len(data) > FILE_BYTES:
        raise ToolCallError(f"a file is larger than {FILE_BYTES:,} bytes")
    target = Path(tempfile.mkdtemp(dir=folder)) / name
    target.write_bytes(data)
    return handle_file(target)


def _name_for(mime: object) -> str:
    return "file" + (mimetypes.guess_extension(str(mime)) or "")
