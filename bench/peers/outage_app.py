"""What does PyJWT's client of key sets do while the issuer is away? It had the set, and its time for it is over."""

import json
import os
import time
from pathlib import Path

import jwt

if __name__ == "__main__":
    job = json.loads(os.environ["BENCH_JOB"])
    tokens = Path(job["tokens"]).read_text().split()
    client = jwt.PyJWKClient(job["url"], lifespan=job["keeps_s"])
    client.get_signing_key_from_jwt(tokens[0])
    # Past the time for which the peer keeps keys: the outage is met with none that count.
    time.sleep(job["keeps_s"] + 0.2)
    answered = 0
    for token in tokens:
        try:
            client.get_signing_key_from_jwt(token)
            answered += 1
        except jwt.PyJWTError:
            pass
    print(json.dumps({"answered": answered}))
