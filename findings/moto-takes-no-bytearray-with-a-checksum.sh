#!/usr/bin/env bash
# boto3 takes a bytearray as the body of an object, and its own checksum goes along. With a checksum that the caller has
# computed, the same call fails under moto's mock_aws with an AttributeError from werkzeug: then the SDK no longer wraps
# the body, and werkzeug takes a bytearray for form fields. Over HTTP, against moto's own server, the call succeeds, so
# code that works fails its tests.
#
# Versions: boto3 1.43.106, moto 5.2.5, werkzeug 3.1.9. Output seen:
#   mock_aws, checksum of the SDK: stored
#   mock_aws, checksum given: AttributeError: 'bytearray' object has no attribute 'items'
#   moto's server, checksum given: stored
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  boto3==1.43.106 'moto[s3,server]==5.2.5' werkzeug==3.1.9
cat >"$folder/put.py" <<'PYTHON'
import base64
import zlib

import boto3
import moto
from moto.server import ThreadedMotoServer

BODY = bytearray(b"[]")
CHECKSUM = {"ChecksumCRC32": base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()}
WHO = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}


def put(how, checksum, **where):
    s3 = boto3.client("s3", **WHO, **where)
    s3.create_bucket(Bucket="bucket")
    try:
        s3.put_object(Bucket="bucket", Key="key", Body=BODY, **checksum)
        print(f"{how}: stored")
    except AttributeError as error:
        print(f"{how}: AttributeError: {error}")


with moto.mock_aws():
    put("mock_aws, checksum of the SDK", {})
    put("mock_aws, checksum given", CHECKSUM)
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
host, port = server.get_host_and_port()
put("moto's server, checksum given", CHECKSUM, endpoint_url=f"http://{host}:{port}")
server.stop()
PYTHON
"$folder/venv/bin/python" "$folder/put.py" | tee "$folder/seen"
diff "$folder/seen" - <<'EXPECTED'
mock_aws, checksum of the SDK: stored
mock_aws, checksum given: AttributeError: 'bytearray' object has no attribute 'items'
moto's server, checksum given: stored
EXPECTED
