"""Print the OpenAPI document of the public API: `python -m services.gateway.openapi > openapi.json`.

Needs no server and no settings: the document is made of the routes and models alone.
"""

import json
import sys

from services.gateway.api import create_app

if __name__ == "__main__":
    sys.stdout.write(json.dumps(create_app().openapi(), indent=2, sort_keys=True) + "\n")
