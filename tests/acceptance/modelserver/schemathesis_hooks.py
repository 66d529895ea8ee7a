"""Schemathesis' hooks: the Open Inference Protocol's file, made usable, and as strict as the environment asks.

The file writes its path parameters as a shell would, ``${MODEL_NAME}``. What it leaves open is that there must be a
body, and what it cannot say is that data fits its shape and that an output exists: with ``SERVED_SHAPES`` set, requests
are narrowed to those that the served model must accept; without, they are as wild as the file allows, and a refusal is
right.
"""

import os

import schemathesis


@schemathesis.hook
def before_load_schema(context, raw_schema):
    raw_schema["paths"] = {path.replace("${", "{"): item for path, item in raw_schema["paths"].items()}
    if "SERVED_SHAPES" not in os.environ:
        return
    for item in raw_schema["paths"].values():
        if "post" in item:
            item["post"]["requestBody"]["required"] = True
    schemas = raw_schema["components"]["schemas"]
    number = {"type": "number", "minimum": -1e6, "maximum": 1e6}
    schemas["request_input"]["properties"] |= {
        "shape": {"type": "array", "enum": [[2, 4]]}, "datatype": {"type": "string", "enum": ["FP32", "FP64"]},
        "parameters": {"type": "object", "maxProperties": 0},
        "data": {"anyOf": [
            {"type": "array", "items": number, "minItems": 8, "maxItems": 8},
            {"type": "array", "minItems": 2, "maxItems": 2,
             "items": {"type": "array", "items": number, "minItems": 4, "maxItems": 4}}]}}
    schemas["inference_request"]["properties"]["inputs"] |= {"minItems": 1, "maxItems": 1}
    schemas["inference_request"]["properties"]["outputs"] |= {"maxItems": 0}
