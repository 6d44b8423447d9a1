from importlib.metadata import version

import idna
import requests
import socks

for name in ("requests", "idna", "urllib3", "pysocks"):
    print(name, version(name))
request = requests.Request("GET", "https://example.org/a", params={"q": "ü"}).prepare()
print(request.url, idna.encode("bücher.example"), socks.SOCKS5)
