#!/usr/bin/env bash
# Above the multipart threshold, boto3's managed copy (client.copy) keeps an object's content type and metadata, which
# UploadPartCopy does not, but loses its tags without a word; and it ignores Metadata that it is given, unless
# MetadataDirective is REPLACE. Below the threshold S3 copies all three. So whether a restored version still has its tags
# depends on its size.
#
# Versions: boto3 1.43.106, s3transfer 0.19.3, against moto 5.2.5. Output seen:
#   one request: application/json {'lineage': '1'} [{'Key': 'kept', 'Value': 'yes'}]
#   in parts: application/json {'lineage': '1'} []
#   in parts, with Metadata given: application/json {'lineage': '1'} []
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  boto3==1.43.106 s3transfer==0.19.3 'moto[s3]==5.2.5'
cat >"$folder/managed_copy.py" <<'PYTHON'
import boto3
import moto
from boto3.s3.transfer import TransferConfig

MIB = 1024**2
ONE_REQUEST = TransferConfig(multipart_threshold=100 * MIB)
IN_PARTS = TransferConfig(multipart_threshold=6 * MIB, multipart_chunksize=5 * MIB)

with moto.mock_aws():
    s3 = boto3.client("s3", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(
        Bucket="bucket", Key="source", Body=bytes(12 * MIB),
        ContentType="application/json", Metadata={"lineage": "1"}, Tagging="kept=yes",
    )
    for name, config, extra in (
        ("one request", ONE_REQUEST, {}),
        ("in parts", IN_PARTS, {}),
        ("in parts, with Metadata given", IN_PARTS, {"Metadata": {"lineage": "2"}}),
    ):
        s3.copy({"Bucket": "bucket", "Key": "source"}, "bucket", name, ExtraArgs=extra, Config=config)
        head = s3.head_object(Bucket="bucket", Key=name)
        tags = s3.get_object_tagging(Bucket="bucket", Key=name)["TagSet"]
        print(f"{name}: {head['ContentType']} {head['Metadata']} {tags}")
PYTHON
"$folder/venv/bin/python" "$folder/managed_copy.py" | tee "$folder/seen"
diff "$folder/seen" - <<'EXPECTED'
one request: application/json {'lineage': '1'} [{'Key': 'kept', 'Value': 'yes'}]
in parts: application/json {'lineage': '1'} []
in parts, with Metadata given: application/json {'lineage': '1'} []
EXPECTED
