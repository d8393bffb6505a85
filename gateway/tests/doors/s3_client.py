"""What a user of boto3 does, and what S3 would answer by a plain model of it."""

import datetime
import os
import sys
import urllib.request

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT, ROOT, WORK = sys.argv[1:4]
CONFIG = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1})
S3 = boto3.client(
    "s3", endpoint_url=ENDPOINT, aws_access_key_id="any", aws_secret_access_key="thing", region_name="us-east-1", config=CONFIG
)

FILES = {}
for at, _, names in os.walk(ROOT):
    for name in names:
        path = os.path.join(at, name)
        with open(path, "rb") as file:
            FILES[os.path.relpath(path, ROOT)] = file.read()
    if at != ROOT and not os.listdir(at):
        FILES[os.path.relpath(at, ROOT) + "/"] = b""


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] in code, error.response
    else:
        raise AssertionError(f"{arguments} was answered")


def model(prefix, delimiter, after):
    """Keys and common prefixes in the order of their bytes."""
    told = set()
    for key in FILES:
        if not key.startswith(prefix) or key <= after and not delimiter:
            continue
        rest = key[len(prefix):]
        told.add(prefix + rest[:rest.index("/") + 1] if delimiter and "/" in rest else key)
    return sorted((key for key in told if key > after or key.endswith("/") and after.startswith(key)), key=str.encode)


def listed(most, **arguments):
    told, token = [], None
    while True:
        more = {"ContinuationToken": token} if token else {}
        page = S3.list_objects_v2(Bucket="data", MaxKeys=most, **arguments, **more)
        entries = [entry["Key"] for entry in page.get("Contents", [])] + [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
        assert len(entries) == page["KeyCount"] <= most, page
        for entry in page.get("Contents", []):
            assert entry["Size"] == len(FILES[entry["Key"]]), entry
        told += sorted(entries, key=str.encode)
        if not page["IsTruncated"]:
            return told
        token = page["NextContinuationToken"]


def listings():
    prefixes = ["", "a", "a/", "a/b", "a/b/", "list/", "list/0", "none", "none/", "a//", "odd/", "odd/w", "/"]
    for prefix in prefixes:
        for delimiter in ("", "/"):
            for after, most in [("", 1), ("", 7), ("", 1000), ("a/b", 7), ("a/b/c/d", 3), ("list/05", 100), ("zzz", 7)]:
                arguments = {"Prefix": prefix, "Delimiter": delimiter, "StartAfter": after}
                arguments = {name: value for name, value in arguments.items() if value}
                found, expected = listed(most, **arguments), model(prefix, delimiter, after)
                assert found == expected, (most, arguments, found, expected)
    keys = [entry["Key"] for page in S3.get_paginator("list_objects_v2").paginate(Bucket="data") for entry in page["Contents"]]
    assert keys == sorted(FILES, key=str.encode)
    assert S3.list_objects_v2(Bucket="data", MaxKeys=0)["KeyCount"] == 0
    refused(["NotImplemented"], S3.list_objects_v2, Bucket="data", Delimiter="-")
    refused(["InvalidArgument"], S3.list_objects_v2, Bucket="data", ContinuationToken="made up")
    refused(["NoSuchBucket"], S3.list_objects_v2, Bucket="none")


def listed_first(most, **arguments):
    """As the first version of the call gives it, which has markers."""
    told, marker = [], ""
    while True:
        page = S3.list_objects(Bucket="data", MaxKeys=most, Marker=marker, **arguments)
        entries = [entry["Key"] for entry in page.get("Contents", [])] + [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
        assert len(entries) <= most, page
        told += sorted(entries, key=str.encode)
        if not page["IsTruncated"]:
            return told
        marker = page["NextMarker"]


def first_listings():
    for prefix in ["", "a", "a/", "a/b", "list/", "list/0", "none/", "odd/"]:
        for delimiter in ("", "/"):
            for most in (1, 7, 1000):
                arguments = {name: value for name, value in {"Prefix": prefix, "Delimiter": delimiter}.items() if value}
                assert listed_first(most, **arguments) == model(prefix, delimiter, ""), (most, arguments)
    keys = [entry["Key"] for page in S3.get_paginator("list_objects").paginate(Bucket="data", PaginationConfig={"PageSize": 7}) for entry in page["Contents"]]
    assert keys == sorted(FILES, key=str.encode)
    bucket = boto3.resource("s3", endpoint_url=ENDPOINT, aws_access_key_id="any", aws_secret_access_key="thing", region_name="x", config=CONFIG).Bucket("data")
    assert [entry.key for entry in bucket.objects.all()] == sorted(FILES, key=str.encode)
    assert [entry["Key"] for entry in S3.list_objects(Bucket="data", Marker="list/05", Prefix="list/0")["Contents"]][0] == "list/06"
    refused(["NoSuchBucket"], S3.list_objects, Bucket="none")


def objects():
    for key, data in FILES.items():
        answer = S3.get_object(Bucket="data", Key=key)
        assert answer["Body"].read() == data and answer["ContentLength"] == len(data), key
        told = S3.head_object(Bucket="data", Key=key)
        assert told["ContentLength"] == len(data) and told["ETag"] == answer["ETag"] and told["LastModified"], told
    large = FILES["large.bin"]
    for given, start, end in [("0-9", 0, 10), ("1048570-1048590", 1048570, 1048591), ("-7", len(large) - 7, len(large))]:
        answer = S3.get_object(Bucket="data", Key="large.bin", Range=f"bytes={given}")
        assert answer["Body"].read() == large[start:end] and answer["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert answer["ContentRange"] == f"bytes {start}-{end - 1}/{len(large)}", answer
    S3.download_file("data", "large.bin", os.path.join(WORK, "copy"))
    with open(os.path.join(WORK, "copy"), "rb") as copy:
        assert copy.read() == large
    etag = S3.head_object(Bucket="data", Key="large.bin")["ETag"]
    assert S3.get_object(Bucket="data", Key="large.bin", IfMatch=etag)["ContentLength"] == len(large)
    refused(["304"], S3.get_object, Bucket="data", Key="large.bin", IfNoneMatch=etag)
    refused(["304"], S3.head_object, Bucket="data", Key="large.bin", IfNoneMatch=etag)
    refused(["PreconditionFailed"], S3.get_object, Bucket="data", Key="large.bin", IfMatch='"other"')
    made = S3.head_object(Bucket="data", Key="large.bin")["LastModified"]
    before = made - datetime.timedelta(seconds=1)
    for call in (S3.get_object, S3.head_object):
        refused(["304"], call, Bucket="data", Key="large.bin", IfModifiedSince=made)
        refused(["PreconditionFailed", "412"], call, Bucket="data", Key="large.bin", IfUnmodifiedSince=before)
        for holds in ({"IfModifiedSince": before}, {"IfUnmodifiedSince": made}):
            assert call(Bucket="data", Key="large.bin", **holds)["ContentLength"] == len(large)
        # A tag says more than a date.
        for holds in ({"IfNoneMatch": '"other"', "IfModifiedSince": made}, {"IfMatch": etag, "IfUnmodifiedSince": before}):
            assert call(Bucket="data", Key="large.bin", **holds)["ContentLength"] == len(large)
    refused(["InvalidRange"], S3.get_object, Bucket="data", Key="large.bin", Range=f"bytes={len(large)}-")
    refused(["InvalidRange"], S3.get_object, Bucket="data", Key="odd/nothing", Range="bytes=-5")
    for given in ("abc", "bytes=9-3", "bytes=0-0,5-9", "bytes=99999999999999999999-"):
        answer = S3.get_object(Bucket="data", Key="large.bin", Range=given)
        assert answer["ContentLength"] == len(large) and "ContentRange" not in answer, given
    assert S3.get_object(Bucket="data", Key="large.bin", PartNumber=1)["ContentLength"] == len(large)
    refused(["InvalidPartNumber"], S3.get_object, Bucket="data", Key="large.bin", PartNumber=2)
    refused(["416"], S3.head_object, Bucket="data", Key="large.bin", PartNumber=2)
    assert S3.get_object(Bucket="data", Key="zz/nothing/below/")["ContentType"] == "application/x-directory"
    for key in ("none", "a", "a/", "a//b", "../secret", "a/b/c/d/e"):
        refused(["NoSuchKey"], S3.get_object, Bucket="data", Key=key)
        refused(["404"], S3.head_object, Bucket="data", Key=key)
    refused(["NoSuchBucket"], S3.get_object, Bucket="none", Key="large.bin")
    url = S3.generate_presigned_url("get_object", Params={"Bucket": "data", "Key": "odd/with space"})
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == FILES["odd/with space"]


def buckets():
    told = S3.list_buckets()["Buckets"]
    assert [bucket["Name"] for bucket in told] == ["data", "m_1"] and all(bucket["CreationDate"] for bucket in told), told
    S3.head_bucket(Bucket="data")
    S3.get_bucket_location(Bucket="data")
    refused(["404"], S3.head_bucket, Bucket="none")
    anonymous = boto3.client("s3", endpoint_url=ENDPOINT, region_name="x", config=CONFIG.merge(Config(signature_version=UNSIGNED)))
    assert anonymous.get_object(Bucket="data", Key="a/b/c/d")["Body"].read() == FILES["a/b/c/d"]


def writes():
    no = ["MethodNotAllowed"]
    refused(no, S3.put_object, Bucket="data", Key="new", Body=b"x")
    refused(no, S3.delete_object, Bucket="data", Key="large.bin")
    refused(no, S3.create_bucket, Bucket="new")
    refused(no, S3.delete_bucket, Bucket="data")
    refused(no, S3.create_multipart_upload, Bucket="data", Key="new")
    refused(no, S3.delete_objects, Bucket="data", Delete={"Objects": [{"Key": "large.bin"}]})
    assert os.path.exists(os.path.join(ROOT, "large.bin")) and not os.path.exists(os.path.join(ROOT, "new"))


for test in (listings, first_listings, objects, buckets, writes):
    test()
