"""The AsyncAPI 3 document, made of the same models as the frames themselves."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.gateway.api.models.governance import IncidentItem
from services.gateway.api.models.kpis import ObservationItem
from services.gateway.api.models.signals import SignalItem
from services.gateway.api.models.sources import Health
from services.gateway.api.models.streams import CLIENT_FRAMES, SERVER_FRAMES, Envelope

_DATA: tuple[type[BaseModel], ...] = (ObservationItem, SignalItem, IncidentItem, Health)
_CHANNELS = {
    "observations": ("observations/{kpi}", "Values of one KPI, every revision."),
    "signals": ("signals", "Signals opened, updated, closed, of the KPIs that are visible."),
    "actions": ("actions", "What was done about signals."),
    "incidents": ("incidents", "Quality incidents."),
    "health": ("health", "The health of each source."),
}


def asyncapi(version: str) -> dict[str, Any]:
    """The document."""
    frames = (*CLIENT_FRAMES, *SERVER_FRAMES)
    _, defined = models_json_schema(
        [(model, "serialization") for model in (*frames, *_DATA)], ref_template="#/components/schemas/{model}"
    )
    return {
        "asyncapi": "3.0.0",
        "id": "urn:sextant:streams",
        "info": {
            "title": "Sextant streams",
            "version": version,
            "description": "One WebSocket carries every channel. The first frame is `hello` with a token or a one-time "
            "ticket; then `subscribe`. Data frames have one envelope, `seq` without a hole per subscription. Keep "
            "the last `cursor` of each channel: a subscription resumed with it goes on with seq + 1. A `gap` means "
            "that this cursor cannot be resumed in full: read the REST resource again and use the cursor it "
            "answers with. The same frames come as server-sent events at `/v1/stream/{channel}`.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"gateway": {"host": "127.0.0.1:8080", "protocol": "ws", "description": "The gateway"}},
        "channels": {
            "stream": {
                "address": "/v1/stream",
                "servers": [{"$ref": "#/servers/gateway"}],
                "description": "Channels to subscribe to: "
                + "; ".join(f"`{address}`: {text}" for address, text in _CHANNELS.values()),
                "messages": {
                    f"{'to' if model in CLIENT_FRAMES else 'from'}{model.__name__}": {
                        "$ref": f"#/components/messages/{model.__name__}"
                    }
                    for model in frames
                },
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            }
        },
        "operations": {
            "say": _operation("receive", "What a client says", "to", CLIENT_FRAMES),
            "hear": _operation("send", "What a client hears", "from", SERVER_FRAMES),
        },
        "components": {
            "messages": {model.__name__: _message(model) for model in frames},
            "schemas": defined["$defs"],
        },
    }


def _operation(action: str, title: str, side: str, models: tuple[type[BaseModel], ...]) -> dict[str, Any]:
    """`action` is the server's: it receives what clients say."""
    return {
        "action": action,
        "title": title,
        "channel": {"$ref": "#/channels/stream"},
        "messages": [{"$ref": f"#/channels/stream/messages/{side}{model.__name__}"} for model in models],
    }


def _message(model: type[BaseModel]) -> dict[str, Any]:
    extra = model.model_config.get("json_schema_extra")
    examples = extra.get("examples", []) if isinstance(extra, dict) else []
    message: dict[str, Any] = {
        "name": model.__name__,
        "summary": (model.__doc__ or "").strip().split("\n")[0],
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
        "examples": [{"payload": one} for one in examples],  # type: ignore[union-attr]
    }
    if model is Envelope:
        message["description"] = "`data` by `type`: " + "; ".join(
            f"`{name}`: {title}"
            for name, title in (
                ("observation", "ObservationItem"),
                ("signal", "SignalItem"),
                ("incident", "IncidentItem"),
                ("health", "Health"),
            )
        )
    return message
