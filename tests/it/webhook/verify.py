"""Verifies webhooks with the library of Standard Webhooks: a JSON object a line in, a word a line out."""

import base64
import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError

for line in sys.stdin:
    came = json.loads(line)
    try:
        Webhook(came["secret"]).verify(base64.b64decode(came["body"]), came["headers"], json_parse=False)
        print("taken", flush=True)
    except WebhookVerificationError as error:
        print(f"refused: {error}", flush=True)
