import six

try:
    import orjson as json
except ImportError:
    import json

print(json.__name__, json.dumps({"six": six.__version__}))
