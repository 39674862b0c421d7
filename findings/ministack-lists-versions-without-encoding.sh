#!/usr/bin/env bash
# S3 encodes the keys of a listing for a client that asks with encoding-type=url, and says so in EncodingType. ministack
# does that for ListObjectsV2, but not for ListObjectVersions, where keys come as they are and EncodingType is missing.
# boto3 decodes only what is said to be encoded and does not notice. A client that asked, and decodes in any case, as
# Terraform's AWS provider does when it empties a bucket, gets another key.
#
# Versions: ministack 1.5.33, boto3 1.43.106. Output seen:
#   ListObjectsV2: <Key>100%25%20of%20a%2Bb.json</Key> <EncodingType>url</EncodingType>
#   ListObjectVersions: <Key>100% of a+b.json</Key>
#   boto3, both: 100% of a+b.json
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check ministack==1.5.33 boto3==1.43.106
port=$("$folder/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cd "$folder"
GATEWAY_PORT=$port BIND_HOST=127.0.0.1 SFTP_ENABLED=0 TMPDIR=$folder \
  "$folder/venv/bin/python" -m hypercorn ministack.app:app --bind "127.0.0.1:$port" >"$folder/log" 2>&1 &
server=$!
cat >"$folder/list.py" <<'PYTHON'
import re
import sys

import boto3
from botocore.config import Config

KEY = "100% of a+b.json"
BUCKET = {"Bucket": "bucket"}
s3 = boto3.client(
    "s3",
    endpoint_url=sys.argv[1],
    region_name="us-east-1",
    aws_access_key_id="test",
    aws_secret_access_key="test",
    config=Config(retries={"total_max_attempts": 20, "mode": "standard"}),  # until it has started
)
answers = []
s3.meta.events.register("before-parse.s3", lambda response_dict, **_: answers.append(response_dict["body"].decode()))
s3.create_bucket(**BUCKET)
s3.put_bucket_versioning(**BUCKET, VersioningConfiguration={"Status": "Enabled"})
s3.put_object(**BUCKET, Key=KEY)
both = [s3.list_objects_v2(**BUCKET)["Contents"], s3.list_object_versions(**BUCKET)["Versions"]]
for name, answer in zip(("ListObjectsV2", "ListObjectVersions"), answers[-2:], strict=True):
    said = [found[0] for found in re.finditer("<(Key|EncodingType)>.*?</.*?>", answer)]
    print(f"{name}:", *sorted(said, reverse=True))
assert {listing[0]["Key"] for listing in both} == {KEY}
print("boto3, both:", KEY)
PYTHON
NO_PROXY=127.0.0.1 "$folder/venv/bin/python" "$folder/list.py" "http://127.0.0.1:$port" | tee "$folder/seen"
diff "$folder/seen" - <<'EXPECTED'
ListObjectsV2: <Key>100%25%20of%20a%2Bb.json</Key> <EncodingType>url</EncodingType>
ListObjectVersions: <Key>100% of a+b.json</Key>
boto3, both: 100% of a+b.json
EXPECTED
